"""What one replica is made of, put together once and handed to the API; nothing here knows Ray Serve."""

import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ray_apps.serving.answer_log import AnswerLog
from ray_apps.serving.arms import Arms
from ray_apps.serving.counters import Tallies
from ray_apps.serving.event_writer import EventWriter
from ray_apps.serving.feedback import Credits
from ray_apps.serving.in_hand import InHand
from ray_apps.serving.jwt_bearer import Bearers
from ray_apps.serving.liked import Liked
from ray_apps.serving.limits import RateLimits
from ray_apps.serving.metrics import AnswerMetrics
from ray_apps.serving.mixed_clicks import MixedClicks
from ray_apps.serving.ripening import Ripening
from ray_apps.serving.shadowing import Shadow
from ray_apps.serving.switching import Switches
from ray_apps.serving.told.following import ToldFollower
from recsys_schemas.serving_evidence import EvidenceResponse, ReplicaReport
from recsys_schemas.serving_record import Role, ServingArguments

_ALL = 100
Evidence = Callable[[], Awaitable[EvidenceResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """The parts of a replica."""

    replica_id: str
    arguments: ServingArguments
    id_key: bytes
    arms: Arms
    tallies: Tallies
    ripening: Ripening
    credits: Credits
    log: AnswerLog
    events: EventWriter
    metrics: AnswerMetrics
    bearers: Bearers | None = None
    """Whose signed tokens are taken; None: nobody's."""
    shadow: Shadow | None = None
    """Where copies of questions go; None: nowhere."""
    mixed: MixedClicks = field(default_factory=MixedClicks)
    """What was clicked in mixed lists."""
    liked: Liked = field(default_factory=Liked)
    """How often items are rewarded."""
    told: ToldFollower | None = None
    """Who follows preferences and live items; None where the model has no topics of them."""
    limits: RateLimits | None = None
    """How often one client may ask; None: as often as it likes."""
    in_hand: InHand = field(default_factory=InHand)
    """How much it has to do."""
    switches: Switches = field(default_factory=Switches)
    """What it was asked to switch to."""
    closed: list[bool] = field(default_factory=list)

    def report(self) -> ReplicaReport:
        """What this replica serves and has counted, now."""
        self.ripening.ripen(self.attribution_seconds())
        self.mixed.ripen(self.attribution_seconds())
        return ReplicaReport(
            replica_id=self.replica_id,
            epoch=self.arms.epoch,
            age_seconds=0.0,
            ready=self.arms.ready(),
            refused=self.arms.refused(),
            counters=self.tallies.counters(),
            online=self.arms.online(),
            shadow=self.shadow.counters() if self.shadow else {},
            mixed=self.mixed.counters(),
            told=self.told.state() if self.told else None,
            switch=self.switches.newest(),
            record_ms=self.arms.switches.newest_ms,
        )

    def logs(self, request_id: str) -> bool:
        """Whether this answer is one of those that are logged."""
        percent = self.arguments.logged_percent
        return percent >= _ALL or zlib.crc32(request_id.encode()) % _ALL < percent

    def attribution_seconds(self) -> float:
        """How long after an answer an event may reward it, by the newest record."""
        wanted = self.arms.wanted
        return wanted.attribution_seconds if wanted else 0.0

    def tokens(self) -> dict[str, Role] | None:
        """Who may ask, by the newest record; None before the first one."""
        wanted = self.arms.wanted
        return wanted.tokens if wanted else None

    def ill(self) -> str | None:
        """Why this replica should be replaced; None while it is well."""
        for part, alive in (("arm loader", self.arms.alive), ("answer log", self.log.alive), ("event writer", self.events.alive)):
            if not alive:
                return f"the {part}'s thread has ended"
        return None

    def close(self) -> None:
        """Write out what is queued and stop the threads; once."""
        if self.closed:
            return
        self.closed.append(True)
        self.log.close()
        self.events.close()
        self.arms.close()
        if self.shadow:
            self.shadow.close()
        if self.told:
            self.told.close()
        if self.arms.beside.contexts:
            self.arms.beside.contexts.close()
        if self.bearers:
            self.bearers.close()
