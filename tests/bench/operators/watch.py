"""`kubectl get --watch` of one kind: when each object has been seen to, and how soon a change of it."""

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from bench.operators.objects import Key
from recsys_dev.kubernetes import Cluster


class LateError(Exception):
    """Something was not so in time; the words tell how far it had come."""


@dataclass(slots=True)
class Watch:
    """The newest look of each object, and when each change came. What is counted is counted as it comes, however many there are."""

    cluster: Cluster
    resource: str
    seen: dict[Key, tuple[str, str]] = field(default_factory=dict[Key, tuple[str, str]])
    """Generation of the spec, and of the one that the status was made from."""
    observed: int = 0
    """Objects whose status is of their newest spec."""
    asked: dict[tuple[Key, int], float] = field(default_factory=dict[tuple[Key, int], float])
    """When a generation of a spec was first seen,"""
    answered: dict[tuple[Key, int], float] = field(default_factory=dict[tuple[Key, int], float])
    """and when the status that was made from it."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Begin to watch."""
        columns = (
            "NS:.metadata.namespace,NAME:.metadata.name,GENERATION:.metadata.generation,OBSERVED:.status.observedGeneration,"
            "VERSION:.metadata.resourceVersion"
        )
        argv = [str(self.cluster.programs / "kubectl"), "get", self.resource, "--all-namespaces", "--watch", "--no-headers"]
        self.child = subprocess.Popen(
            [*argv, "-o", f"custom-columns={columns}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.cluster.environment,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch."""
        assert self.child is not None
        self.child.terminate()
        self.child.wait(timeout=10)

    def _read(self) -> None:
        assert self.child is not None
        assert self.child.stdout is not None
        for line in self.child.stdout:
            now = time.monotonic()
            namespace, name, generation, observed, _ = line.split()
            key = (namespace, name)
            with self.changed:
                before = self.seen.get(key, ("", "none"))
                self.seen[key] = (generation, observed)
                self.observed += (generation == observed) - (before[0] == before[1])
                self.asked.setdefault((key, int(generation)), now)
                if observed.isdecimal():
                    self.answered.setdefault((key, int(observed)), now)
                self.changed.notify_all()

    def wait(self, ready: Callable[[], bool], *, what: str, limit_s: float) -> float:
        """Return the clock's seconds once it is so.

        Raises:
            LateError: the time is up.
        """
        with self.changed:
            if not self.changed.wait_for(ready, timeout=limit_s):
                raise LateError(f"{what}: not within {limit_s:.0f} s; {self.observed} of {len(self.seen)} observed")
        return time.monotonic()
