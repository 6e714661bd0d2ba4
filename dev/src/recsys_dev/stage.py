"""What the acts of the demo share, and how a step announces itself."""

import contextlib
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from rich.console import Console

from recsys_dev.events import Audience, Event
from recsys_dev.eyes import Eyes, Seen
from recsys_dev.line import NAMESPACE, Line
from recsys_dev.producer import EventProducer
from recsys_dev.report import Report
from recsys_dev.story import Story
from recsys_dev.topics_seen import LagMarks, Topics
from recsys_dev.traffic import Traffic
from recsys_schemas.v1alpha1.version import VersionPhase

EVENT_TOPICS = ("watch", "rate")
REQUESTS, RESPONSES = "reco_requests", "reco_responses"
PREFERENCES, ITEMS = "reco_preferences", "reco_items"
MODEL = "movies"
MARK_EVERY_S = 2.0
STEPS = 9
QUIET = 0.3
"""Part of the visits that come while no version is in its canary."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """The demo under way."""

    console: Console
    line: Line
    audience: Audience
    past: Sequence[Event]
    """The history, in time order."""
    rate: float
    """Visits per second."""
    eyes: Eyes
    story: Story
    topics: Topics
    producer: EventProducer
    marks: LagMarks
    report: Report
    traffic: Traffic | None = None
    token: str = ""
    url: str = ""
    _marking: threading.Event = field(default_factory=threading.Event)

    @property
    def kubectl(self) -> str:
        """What a person types for kubectl in another terminal."""
        return str(short(self.line.write_kubectl()))

    def tell(self, words: str) -> None:
        """One line for a person."""
        self.console.print(f"   {words}", markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, number: int, title: str, usual_s: int) -> Generator[None]:
        """Say what begins and how long it usually takes; then how long it took."""
        with announced(self.console, self.report, number, title, usual_s):
            yield

    def pace(self, *, canary: bool) -> None:
        """Let many users come while a version is in its canary, and fewer at other times.

        A canary needs answers. At other times a demo's minutes of heavy traffic would drown what users choose by themselves in what
        they chose because it was shown.
        """
        if self.traffic is not None:
            self.traffic.rate = self.rate if canary else self.rate * QUIET

    def in_vain(self) -> str | None:
        """Why waiting is in vain: a part has ended, or a version was given up."""
        operator = self.line.operator
        if operator is None or not operator.is_alive():
            return "the operator's process has ended:\n" + (operator.last_lines() if operator else "")
        if not self.line.head.alive():
            return "the Ray head has ended"
        given_up = [
            v
            for v in (self.story.seen.versions if self.story.seen else ())
            if v.status.phase in (VersionPhase.FAILED, VersionPhase.REJECTED)
        ]
        return f"{given_up[-1].name} {given_up[-1].status.phase}: {given_up[-1].status.message}" if given_up else None

    def storage_of_model(self) -> str:
        """Folder of the model's snapshots and versions, below the storage root: as the operator derives it."""
        assert self.story.seen is not None
        versions = self.story.seen.versions
        return versions[0].spec.storage_uri if versions else f"{self.line.storage.as_uri()}/{NAMESPACE}/{MODEL}"

    def start_marking(self) -> None:
        """Note every other second how much is on the event topics, until `stop_marking`."""

        def keep() -> None:
            while not self._marking.wait(MARK_EVERY_S):
                with contextlib.suppress(KafkaException):
                    self.marks.mark()

        threading.Thread(target=keep, name="lag-marks", daemon=True).start()

    def stop_marking(self) -> None:
        """End it."""
        self._marking.set()

    def more_events_until(self, version: int, most: int, *, what: str, deadline_s: float) -> Seen:
        """Let the audience go on watching, until the version numbered so is due; then send no more."""
        sent = 0

        def due(seen: Seen) -> bool:
            nonlocal sent
            if seen.version(version) is not None:
                return True
            if sent < most:
                events = self.audience.live(min(1000, most - sent), time.time_ns() // 1_000_000)
                sent += self.producer.send(events)
                self.producer.flush()
            return False

        seen = self.story.wait(due, what=what, deadline_s=deadline_s, in_vain=self.in_vain)
        self.tell(f"{sent:,} new events sent; {seen.versions[-1].spec.cause.detail}")
        return seen


def short(path: Path) -> Path:
    """A path as a person would type it: relative where it lies below the present folder."""
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path


@contextlib.contextmanager
def announced(console: Console, report: Report, number: int, title: str, usual_s: int) -> Generator[None]:
    """Print a step's heading with its usual time; note how long it took."""
    console.print(f"\n[bold]{number}/{STEPS}  {title}[/bold] (about {usual_s} s)", highlight=False)
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    report.seconds[f"{number} {title}"] = round(took, 1)
    console.print(f"   done in {took:.0f} s", style="dim", highlight=False)
