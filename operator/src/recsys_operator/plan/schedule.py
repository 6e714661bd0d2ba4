"""Schedules: the times of a cron line on somebody's clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from recsys_schemas.v1alpha1.triggers import Trigger


class UnreadableScheduleError(ValueError):
    """A schedule that no clock can follow; the message names the field, what was seen and the mend."""


def latest(trigger: Trigger, now: datetime) -> datetime:
    """The newest of its times that is not after `now`, in UTC.

    Days on which clocks are put forward or back are as Debian's cron has them: a time that is skipped comes right after, one that
    happens twice comes once.

    Raises:
        UnreadableScheduleError: there is no such time zone, or no such time.
    """
    # The step back begins strictly before the moment given, at full minutes.
    return _step(trigger, now + timedelta(minutes=1), back=True, no_later_than=now)


def coming(trigger: Trigger, now: datetime) -> datetime:
    """The first of its times after `now`, in UTC. Raises as `latest`."""
    return _step(trigger, now, back=False)


def _step(trigger: Trigger, start: datetime, *, back: bool, no_later_than: datetime | None = None) -> datetime:
    cron, zone = trigger.cron or "", trigger.time_zone or "UTC"
    try:
        times = CronSim(cron, start.astimezone(ZoneInfo(zone)), reverse=back)
        for _ in range(3):
            found = next(times).astimezone(UTC)
            if no_later_than is None or found <= no_later_than:
                return found
    except CronSimError as error:
        raise UnreadableScheduleError(f"training.triggers: cron {cron!r} names no time: {error}; write for instance 0 3 * * *") from error
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnreadableScheduleError(f"training.triggers: timeZone {zone!r} is unknown; use a name such as Europe/Paris") from error
    except StopIteration:
        pass
    raise UnreadableScheduleError(f"training.triggers: cron {cron!r} names no time within 50 years; write for instance 0 3 * * *")
