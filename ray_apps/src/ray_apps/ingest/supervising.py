"""When is a consumer well, when is it to be started again, and when is it given up? Pure: times and facts in, one word out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Word(StrEnum):
    """What is to be done about a consumer."""

    WELL = "Well"
    RESTART = "Restart"
    GIVE_UP = "GiveUp"
    ENDED = "Ended"
    TROUBLED = "Troubled"
    """It fails again and again: the job ends with the reason, is seen by the operator, and is started again by it."""


class Ending(StrEnum):
    """How a consumer ended by itself."""

    STOPPED = "Stopped"
    REFUSED = "Refused"
    FENCED = "Fenced"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a consumer says of itself."""

    pid: int
    beat_age_s: float
    """Since its reading loop last came round."""
    writing_age_s: float
    """Since the batch being written was cut; 0 while none is."""
    rows: int
    dead_letters: int
    commits: int
    sequence: int
    sessions: int
    trouble: str = ""
    """Why its sessions fail; empty while they work."""
    trouble_age_s: float = 0.0
    failures: int = 0
    """Sessions that failed one after another."""
    ending: Ending | None = None
    words: str = ""
    """Why it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long silence is borne, and how many new starts are worth a try."""

    silent_s: float = 60.0
    """Without an answer from the actor: longer than Ray takes to start another process for it."""
    beat_s: float = 90.0
    """Without a round of the reading loop: longer than its longest call to a broker."""
    writing_s: float = 300.0
    """For one batch: longer than the deadlines of its own steps."""
    trouble_s: float = 6.0
    """Of sessions that fail one after another: what passes sooner, nobody needs to hear of."""
    doubt_s: float = 30.0
    """After a single one, for which the next may still make up: a killed lane is one, and starting others takes its time."""
    restarts: int = 5
    within_s: float = 900.0


def judge(health: Health | None, *, now: float, answered_at: float, restarts: Sequence[float], patience: Patience) -> Word:
    """Return what to do.

    Args:
        health: the newest answer; None when the actor did not give one this time.
        now: clock seconds.
        answered_at: clock seconds of the newest answer, or of the start.
        restarts: clock seconds of the restarts so far.
        patience: the limits.
    """
    if health is not None and health.ending is not None:
        if health.ending is not Ending.FAILED:
            return Word.ENDED
        stuck = True
    elif health is not None and health.trouble_age_s > (patience.trouble_s if health.failures > 1 else patience.doubt_s):
        return Word.TROUBLED
    elif health is None:
        stuck = now - answered_at > patience.silent_s
    else:
        stuck = health.beat_age_s > patience.beat_s or health.writing_age_s > patience.writing_s
    if not stuck:
        return Word.WELL
    recent = [moment for moment in restarts if now - moment <= patience.within_s]
    return Word.GIVE_UP if len(recent) >= patience.restarts else Word.RESTART
