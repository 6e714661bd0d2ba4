"""A steady flow of events, and how soon each of them is visible."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.ingest import topics
from bench.ingest.measured import Measured
from bench.ingest.visible import Delays, Publication, delays, times_of

RATE = 20_000
WARM_UP_S = 15.0
"""A JVM compiles meanwhile, and reads what came in during its first batch."""
_LAST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What a subject shows once it is warm."""

    delays: Delays
    cpu_s_per_million: float
    commits_per_s: float


def steady(servers: str, topic: str, subject: Callable[[], Measured], read: Callable[[], Sequence[Publication]], seconds: float) -> Steady:
    """Write events at `RATE` while a subject reads them; its first seconds do not count.

    Args:
        servers: the brokers.
        topic: an empty topic.
        subject: starts it.
        read: tells what it published.
        seconds: how long it is measured.
    """
    with subject() as child:
        child.wait(lambda: is_ready(child))
        written: list[int] = []
        producer = threading.Thread(target=lambda: written.append(topics.flow(servers, topic, RATE, WARM_UP_S + seconds)))
        producer.start()
        time.sleep(WARM_UP_S)
        since, cpu_s = time.time(), child.cpu_s()
        time.sleep(seconds)
        until, cpu_s = time.time(), child.cpu_s() - cpu_s
        producer.join()
        events = written[0]
        child.wait(lambda: _covered(read()) >= events, every_s=0.2, limit_s=_LAST_S)
        child.kill()
    published = read()
    times = times_of(servers, topic, topics.PARTITIONS, events)
    seen = delays(times, published, since * 1000, until * 1000)
    commits = sum(since * 1000 <= each.at_ms < until * 1000 for each in published)
    return Steady(delays=seen, cpu_s_per_million=cpu_s / seen.events * 1e6, commits_per_s=commits / (until - since))


def is_ready(child: Measured) -> bool:
    """Whether ingest, or the peer, has begun to read."""
    return child.says(b'"event": "partitions assigned"') or child.says(b"started ")


def _covered(published: Sequence[Publication]) -> int:
    return max((sum(each.covers.values()) for each in published), default=0)


def folder_of(root: Path, name: str) -> Path:
    """A new folder for one run."""
    made = root / name
    made.mkdir(parents=True)
    return made
