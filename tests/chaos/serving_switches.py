"""How long switches took inside the replicas, by what these tell at their own ports; one that was killed counts until it was last asked."""

import re
from collections import Counter
from dataclasses import dataclass, field

import httpx

from bench.serving_line import TOKENS
from load.scene import Scene
from recsys_schemas.metric_names import SERVE_SWITCH_SECONDS

_LINE = re.compile(rf"^{SERVE_SWITCH_SECONDS.name}_bucket\{{.*le=\"([^\"]+)\".*\}} (\S+)$", re.MULTILINE)
ALL = "+Inf"


@dataclass(slots=True)
class Switches:
    """Counts by upper bound, seconds; each holds those below it too."""

    scene: Scene
    counts: Counter[str] = field(default_factory=Counter[str])
    _ports: list[int] = field(default_factory=list[int])
    _last: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])

    def find(self) -> None:
        """Look for the replicas anew."""
        self._ports = self.scene.replica_ports()

    def look(self) -> None:
        """Ask every replica; one that counts less than before is another one at the same port."""
        for port in self._ports:
            told = _told(port)
            if not told:
                continue
            before = self._last.get(port, Counter())
            if told[ALL] < before[ALL]:
                before = Counter()
            self.counts.update({bound: told[bound] - before[bound] for bound in told})
            self._last[port] = told

    def within(self, seconds: float) -> tuple[int, int]:
        """How many took no longer, and of how many."""
        return self.counts[str(seconds)], self.counts[ALL]


def _told(port: int) -> Counter[str]:
    headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
    try:
        answered = httpx.get(f"http://127.0.0.1:{port}/movies/metrics", headers=headers, timeout=10, trust_env=False)
    except httpx.TransportError:
        return Counter()
    return Counter({bound: int(float(count)) for bound, count in _LINE.findall(answered.text)})
