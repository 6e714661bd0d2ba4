"""The chart's own brokers and store while they are tried out, and how they are asked."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recsys_dev.errors import Unmet
from recsys_dev.eyes import Eyes
from recsys_dev.kubernetes import Cluster
from recsys_dev.line import REPOSITORY
from recsys_dev.node_line import SHOP
from recsys_dev.steps import Steps
from recsys_dev.story import Story

RUN_DIR = REPOSITORY / "build" / "run" / "try-out"
RELEASE = "recsys"
BROKERS = tuple(f"{RELEASE}-kafka-{number}" for number in range(3))
SCRIPT_DEADLINE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOut:
    """The run under way."""

    steps: Steps
    cluster: Cluster
    eyes: Eyes
    story: Story

    @property
    def sent(self) -> Path:
        """What was handed to the producers, a record a line."""
        return RUN_DIR / "sent"

    def kubectl(self, *words: str) -> str:
        """In the models' namespace."""
        return self.cluster.kubectl("--namespace", SHOP, *words)

    def kafka(self, tool: str, *words: str) -> str:
        """One of Kafka's own tools, run in a broker's pod."""
        java = ("java", "-cp", "/opt/kafka/libs/*", f"org.apache.kafka.tools.{tool}", "--bootstrap-server", f"{RELEASE}-kafka:9092")
        return self.kubectl("exec", BROKERS[0], "--", *java, *words)

    def do(self, script: str) -> str:
        """What a person would do in a terminal; returns what it printed.

        Raises:
            Unmet: a command failed, with its words.
        """
        argv = ["bash", "-euo", "pipefail", "-c", script]
        try:
            done = subprocess.run(
                argv, env=self.cluster.environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=SCRIPT_DEADLINE_S, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise Unmet(f"`{script}`", f"no end after {SCRIPT_DEADLINE_S:.0f} s", "See the pods below.") from late
        if done.returncode:
            raise Unmet(f"`{script}`", f"exit {done.returncode}: {(done.stdout + done.stderr)[-1500:]}", "Mend the chart or the guide.")
        return done.stdout


def is_whole(described: str) -> bool:
    """Whether every topic has three copies, and every partition three that are in sync."""
    factors, in_sync = re.findall(r"ReplicationFactor: (\d+)", described), re.findall(r"Isr: ([\d,]+)", described)
    return bool(factors) and set(factors) == {"3"} and all(len(each.split(",")) == len(BROKERS) for each in in_sync)
