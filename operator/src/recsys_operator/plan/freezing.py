"""Freezing: whether a window is open in which no share may grow. The time is handed in."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from recsys_schemas.v1alpha1.strategy import FreezeWindow

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = timedelta(days=1)


def frozen(windows: Sequence[FreezeWindow], now: datetime) -> str | None:
    """Why no share may grow now, in words; None while no window is open.

    A window whose time zone this machine does not know counts as open: what cannot be read must not let anything through.
    """
    for window in windows:
        try:
            local = now.astimezone(ZoneInfo(window.time_zone)).replace(tzinfo=None)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return f"freezeWindows: timeZone {window.time_zone!r} is unknown here, so nothing grows; use a name such as Europe/Paris"
        ends = _open_until(window, local)
        if ends is not None:
            return f"frozen until {ends:%Y-%m-%d %H:%M} {window.time_zone}" + (f": {window.reason}" if window.reason else "")
    return None


def _open_until(window: FreezeWindow, local: datetime) -> datetime | None:
    """When the window that is open ends, on its own clock: it may have begun today or, over midnight, yesterday."""
    for day in (local.date(), local.date() - _DAY):
        begins, ends = _at(day, window.from_), _at(day, window.to)
        if ends <= begins:
            ends += _DAY
        if _begins_on(window, day) and begins <= local < ends:
            return ends
    return None


def _begins_on(window: FreezeWindow, day: date) -> bool:
    first, last = window.first_date or "", window.last_date or "9999-99-99"
    return _DAYS[day.weekday()] in window.days and first <= day.isoformat() <= last


def _at(day: date, clock: str) -> datetime:
    hours, minutes = clock.split(":")
    return datetime.combine(day, time()) + timedelta(hours=int(hours), minutes=int(minutes))
