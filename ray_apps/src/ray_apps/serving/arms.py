"""The versions that a replica holds: loaded by a thread, swapped by a pointer, never loaded on the request path."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from pydantic import JsonValue

from ray_apps.algorithms.welcoming import for_newcomers
from ray_apps.serving.assignment import Split, split_of
from ray_apps.serving.beside import Beside
from ray_apps.serving.near import Near
from ray_apps.serving.online.live import Enliven, Followed, Live
from ray_apps.serving.online.popularity import Likes
from ray_apps.serving.pace import Pace
from ray_apps.serving.record import RecordRefused, check_succession, parse
from ray_apps.serving.shelf import Assortment, Shelf
from ray_apps.serving.strangers import Newcomers
from ray_apps.serving.switch_times import SwitchTimes
from ray_apps.serving.together import Together, together_of
from ray_apps.stores.registry import LoadedVersion, Scorer
from recsys_schemas.serving_evidence import OnlineState, stratum_of
from recsys_schemas.serving_record import Arm, ServingRecord, Variant

NO_EPOCH = -1
"""What a replica reports before it serves any record."""
MAX_DECODED = 200_000
"""With more items than this, ids stay in the shared map and are searched there: slower, but no memory of the replica's own."""
CATCH_UP_SECONDS = 20.0
"""How long a newly loaded arm may take to learn what has happened since it was trained, before it is used all the same."""
WARM_UP = 3
"""Scorings of a new arm before it is used."""
RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Pauses between attempts to load an arm; the last one repeats."""

logger = logging.getLogger(__name__)
Opener = Callable[[str, str], LoadedVersion]
"""(version, digest) → its arrays, mapped and verified; raises when they cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedArm:
    """A version, mapped read-only, with what answering needs beside it."""

    name: str
    digest: str
    version: LoadedVersion
    names: Sequence[str]
    """Item ids by index."""
    places: Mapping[str, int]
    """Item id → index."""
    live: Live
    """What has happened since it was trained."""
    beside: Beside
    """What it goes by beside its version."""
    assortment: Assortment
    newcomers: Newcomers
    """How it scores for somebody who said what they like."""
    welcoming: Scorer
    """What scores users of whom its training knew nothing."""
    pace: Pace = field(default_factory=Pace)
    near: Near = field(default_factory=Near)
    """Its shortlist, where it has one."""
    together: Together | None = None
    """Who scores users at once, where that pays."""

    @property
    def shelf(self) -> Shelf:
        """What it may show now: take it once for an answer."""
        return self.assortment.shelf

    def close(self) -> None:
        """Let its threads go."""
        self.live.close()
        self.pace.close()
        self.near.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What answers requests: replaced as a whole, so a request sees one record from beginning to end."""

    record: ServingRecord
    split: Split | None
    arms: Mapping[str, LoadedArm]
    stable: LoadedArm | None
    complete: bool
    """False only after a start, while an arm with a share is missing: the stable arm answers for it."""
    stratum: str
    """Name of the shares that are in force."""


@dataclass(slots=True, kw_only=True)
class _Refusal:
    reason: str
    attempts: int
    retry_at: float


class Arms:
    """The arms of one replica. `apply` is called on the event loop and only swaps pointers; one thread loads.

    Memory is bounded by the record in force and the one waited for: everything else is dropped, and unmapped as soon
    as the last request that reads it has been answered.
    """

    def __init__(self, opener: Opener, enliven: Enliven, beside: Beside | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.serving: Serving | None = None
        self.wanted: ServingRecord | None = None
        self.refused_record: str | None = None
        self.switches = SwitchTimes()
        self._opener = opener
        self._enliven = enliven
        self.beside = beside or Beside()
        self._clock = clock
        self._loaded: dict[tuple[str, str], LoadedArm] = {}
        self._refused: dict[tuple[str, str], _Refusal] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="arm-loader", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """Epoch of the record that is served in full; NO_EPOCH before there is one."""
        serving = self.serving
        return serving.record.epoch if serving and serving.complete else NO_EPOCH

    @property
    def alive(self) -> bool:
        """Whether the loading thread runs; without it no new version would ever be served."""
        return self._thread.is_alive()

    def ready(self) -> dict[str, str]:
        """Version → digest, of the arms that are mapped and verified."""
        return {arm.name: arm.digest for arm in list(self._loaded.values())}

    def refused(self) -> dict[str, str]:
        """Version → why it could not be mapped."""
        return {version: refusal.reason for (version, _), refusal in list(self._refused.items())}

    def apply(self, value: JsonValue) -> bool:
        """Take a record; False when it is refused, and then the old one stays (see `refused_record`). Never raises.

        Ray Serve stops a replica whose `reconfigure` raises, so a bad record must not.
        """
        began = self._clock()
        try:
            record = parse(value)
            check_succession(self.wanted, record)
        except RecordRefused as error:
            self.refused_record = str(error)
            logger.warning("record refused", extra={"event": "RecordRefused", "reason": str(error)})
            return False
        with self._changed:
            self.refused_record = None
            if self.wanted is None or record.epoch > self.wanted.epoch:
                self.switches.came(began, switch=self.serving is not None and self.serving.complete)
            self.wanted = record
            for loaded in self._loaded.values():
                loaded.live.skip(tuple(record.skips))
            if self.beside.contexts:
                self.beside.contexts.skip(tuple(record.skips))
            self._settle()
            self._changed.notify_all()
        return True

    def online(self) -> dict[str, OnlineState]:
        """Version → what it knows of the events since, of the arms that follow them."""
        told = {arm.name: arm.live.state() for arm in list(self._loaded.values())}
        return {name: state for name, state in told.items() if state is not None}

    def recalls(self) -> dict[str, float]:
        """Version → what its shortlist finds of the exact best, of the arms that have one."""
        lists = {arm.name: arm.near.shortlist for arm in list(self._loaded.values())}
        return {name: shortlist.recall for name, shortlist in lists.items() if shortlist is not None}

    def renew(self) -> None:
        """Live records of items have changed: put them on every arm's shelf."""
        with self._changed:
            told = self.beside.told.items()
            for loaded in self._loaded.values():
                loaded.assortment.renew(told)

    def close(self) -> None:
        """Stop the loading thread and whatever the arms follow."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        for loaded in self._loaded.values():
            loaded.close()

    def _settle(self) -> None:
        """Point at the wanted record if its arms are there; drop arms that nobody wants. The lock is held."""
        wanted = self.wanted
        if wanted is None:
            return
        arms = {arm.version: self._loaded[key] for arm in wanted.arms if (key := (arm.version, arm.digest)) in self._loaded}
        stable = next((arms.get(arm.version) for arm in wanted.arms if arm.variant is Variant.STABLE), None)
        complete = all(arm.version in arms for arm in wanted.arms if arm.share or arm.interleaved or arm.mirrored)
        old = self.serving
        nothing_better = old is None or old.stable is None or not old.complete
        if complete or (nothing_better and stable is not None):
            split = split_of(wanted.salt, wanted.arms) if wanted.arms else None
            self.serving = Serving(
                record=wanted,
                split=split,
                arms=MappingProxyType(arms),
                stable=stable,
                complete=complete,
                stratum=stratum_of({arm.version: arm.share for arm in wanted.arms} if complete else {}),
            )
        if complete:
            self.switches.in_force(self._clock())
        self._drop()

    def _drop(self) -> None:
        records = [self.wanted, self.serving.record if self.serving else None]
        kept = {(arm.version, arm.digest) for record in records if record for arm in record.arms}
        for key in [key for key in self._loaded if key not in kept]:
            self._loaded.pop(key).close()
        for key in [key for key in self._refused if key not in kept]:
            del self._refused[key]

    def _next(self) -> tuple[Arm | None, float | None]:
        """The arm to load now, or the seconds until one is due. The lock is held."""
        now = self._clock()
        wait: float | None = None
        for arm in sorted(self.wanted.arms if self.wanted else [], key=_urgency):
            key = (arm.version, arm.digest)
            if key in self._loaded:
                continue
            due = self._refused[key].retry_at if key in self._refused else now
            if due <= now:
                return arm, None
            wait = min(due - now, wait or due - now)
        return None, wait

    def _run(self) -> None:
        while True:
            with self._changed:
                arm, wait = self._next()
                while arm is None and not self._closed:
                    self._changed.wait(timeout=wait)
                    arm, wait = self._next()
                if self._closed or arm is None:
                    return
            self._load(arm)

    def _load(self, arm: Arm) -> None:
        key = (arm.version, arm.digest)
        try:
            loaded = load(arm, self._opener, self._enliven, self.beside)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the bytes, the replica goes on with what it has
            self._note_refusal(key, f"{type(error).__name__}: {error}")
            return
        loaded.live.skip(tuple(self.wanted.skips if self.wanted else ()))
        if self.serving is not None and self.serving.stable is not None:
            # Who serves already knows of the last second; a newcomer takes over when it does too, or is not kept waiting for ever.
            due = self._clock() + CATCH_UP_SECONDS
            while not (self._closed or loaded.live.wait(0.1) or self._clock() >= due):
                pass
        with self._changed:
            loaded.assortment.renew(self.beside.told.items())
            self._loaded[key] = loaded
            self._refused.pop(key, None)
            self._settle()
        logger.info("arm loaded", extra={"event": "ArmLoaded", "version": arm.version, "digest": arm.digest})

    def _note_refusal(self, key: tuple[str, str], reason: str) -> None:
        with self._changed:
            attempts = self._refused[key].attempts + 1 if key in self._refused else 1
            pause = RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]
            self._refused[key] = _Refusal(reason=reason, attempts=attempts, retry_at=self._clock() + pause)
            self._drop()
        logger.error("arm refused", extra={"event": "ArmRefused", "version": key[0], "digest": key[1], "reason": reason})


def _urgency(arm: Arm) -> tuple[bool, bool]:
    """Stable first, then arms with a share, then the rest."""
    return (arm.variant is not Variant.STABLE, arm.share == 0)


def load(arm: Arm, opener: Opener, enliven: Enliven, beside: Beside | None = None) -> LoadedArm:
    """Map a version and let it follow what happens; the bytes are verified before they are mapped."""
    version = opener(arm.version, arm.digest)
    names: Sequence[str] = version.item_ids
    places: Mapping[str, int] = version.item_index
    if len(names) <= MAX_DECODED:
        names = list(names)
        places = {name: place for place, name in enumerate(names)}
    snapshot = version.card.snapshot
    offsets = {(each.topic, each.partition): each.next_offset for each in snapshot.offsets}
    trained = Likes(counts=np.asarray(version.popularity), recent=version.recent)
    live = enliven(Followed(cluster_id=snapshot.cluster_id, offsets=offsets), trained, places)
    pace = Pace()
    loaded = LoadedArm(
        name=arm.version,
        digest=arm.digest,
        version=version,
        names=names,
        places=places,
        live=live,
        beside=beside or Beside(),
        assortment=Assortment(version, names, places),
        newcomers=Newcomers(version.content),
        welcoming=for_newcomers(version.model),
        pace=pace,
        together=together_of(version.model, pace.took),
    )
    warm(loaded)
    loaded.near.begin(version)
    return loaded


def warm(arm: LoadedArm) -> None:
    """Score a few times before any user waits for it: pages come into memory, and it is known how long the arm takes.

    What is wrong with a version shows when it is asked, and is counted there.
    """
    item, weight = np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.float32)
    with contextlib.suppress(Exception):
        arm.version.model.scores(item, weight)
        for _ in range(WARM_UP):
            started = time.thread_time()
            arm.version.model.scores(item, weight)
            arm.pace.took((time.thread_time() - started) * 1000)
