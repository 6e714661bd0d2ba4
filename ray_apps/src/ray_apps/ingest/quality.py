"""Is this record an event? The pydantic schema judges; a faster decoder answers first where it cannot differ.

The fast decoder (msgspec, compiled from the same schema) may only say yes. Whatever it refuses, and whatever it could see
otherwise than pydantic does, goes to pydantic, whose answer stands. So both accept the same documents by construction, if
every yes of the fast one is also pydantic's: a property test holds that.
"""

import base64
import hashlib
import itertools
import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from ray_apps.ingest.compiled import NotUnderstoodError, fast_decoder
from recsys_schemas.events import DeadLetter, DeadLetterReason

MAX_VALUE_BYTES = 1 << 20
"""A larger value is not read: no event of ours comes near it."""
MAX_AHEAD_MS = 24 * 3600 * 1000
"""An event may claim to be this much newer than its record: clocks differ, but not by days."""
Kept = TypeVar("Kept")
Place = tuple[str, int, int, int]
"""Where a record stands: topic, partition, offset, and its timestamp in milliseconds."""
_KEPT_BYTES = 64 << 10
_DETAIL_CHARACTERS = 500
_SOME = 32
"""So few are taken out one by one in less time than all others are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a record is not an event."""

    reason: DeadLetterReason
    detail: str


class Judge:
    """Reads the values of one event type's records."""

    __slots__ = ("_exact", "_fast", "event")

    def __init__(self, event: type[BaseModel]) -> None:
        self.event = event
        self._exact: Callable[[bytes], BaseModel] = event.model_validate_json
        self._fast = fast_decoder(event)

    def read_all(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Sequence[int]) -> list[Any]:
        """Judge several records as `read` does each of them, with few calls of Python for those that nothing speaks against.

        Args:
            keys: raw keys of records.
            values: as many raw values.
            timestamps: as many record timestamps.
        """
        events, left = self._decode_all(values)
        decoded, keys_of, times = events, keys, timestamps
        if left:
            decoded, keys_of, times = without(events, left), without(keys, left), without(timestamps, left)
        if not (_newest(decoded) - min(times, default=0) <= MAX_AHEAD_MS and _keyed(decoded, keys_of)):
            judged = map(_fitting, decoded, keys_of, times)
            events = [None if index in left else next(judged) for index in range(len(events))]
        for index in left:
            events[index] = self.read(keys[index], values[index], timestamps[index])
        return events

    def _decode_all(self, values: Sequence[bytes | None]) -> tuple[list[Any], set[int]]:
        """Decode each value; also returns the places of those that the fast decoder refuses, or could see otherwise than pydantic."""
        if self._fast is None:
            return [None] * len(values), set(range(len(values)))
        events, left = list[Any](), set[int]()
        decode: Callable[[Any], Any] = self._fast.decode if _plain(values) else self._decode_fast
        decoded = map(decode, values)
        while len(events) < len(values):
            try:
                for event in decoded:
                    events.append(event)  # one by one: what stands before a refused value is kept, and the map goes on behind it
            except Exception:  # noqa: BLE001 (whatever it is, the exact judge says what the record is)
                left.add(len(events))
                events.append(None)
        return events, left

    def _decode_fast(self, value: bytes | None) -> Any:
        if self._fast is None or not value or not _plain([value]):
            raise NotUnderstoodError
        return self._fast.decode(value)

    def read(self, key: bytes | None, value: bytes | None, timestamp: int) -> Any:
        """Return an object with the event's fields, or the first `Fault` of the record.

        Args:
            key: the record's key: the event's user_id, so that a user's events share a partition and keep their order.
            value: the record's raw value.
            timestamp: the record's timestamp, milliseconds; below 0 when it has none.
        """
        if not value:
            return Fault(reason=DeadLetterReason.EMPTY, detail="value: empty (a tombstone); an event is one JSON object")
        if len(value) > MAX_VALUE_BYTES:
            return Fault(reason=DeadLetterReason.TOO_LARGE, detail=f"value: {len(value)} bytes; at most {MAX_VALUE_BYTES} fit")
        event = self._event(value)
        return event if isinstance(event, Fault) else _fitting(event, key, timestamp)

    def accepts(self, value: bytes) -> bool:
        """Whether a value is an event, whatever record it came in."""
        return len(value) <= MAX_VALUE_BYTES and not isinstance(self._event(value), Fault)

    @property
    def struct(self) -> type[msgspec.Struct] | None:
        """The schema as it was compiled; None where a rule of it is not understood."""
        return self._fast.type if self._fast else None

    def _event(self, value: bytes) -> Any:
        try:
            return self._decode_fast(value)
        except Exception:  # noqa: BLE001 (whatever it is, the exact judge says what the record is)
            try:
                return self._exact(value)
            except ValidationError as error:
                return _fault(error)


def _plain(values: Sequence[bytes | None]) -> bool:
    """Whether the fast decoder may judge all of these: none is missing or too large, or holds what it could see otherwise."""
    try:
        text = b"".join(values)  # pyright: ignore[reportArgumentType] (that is what is asked)
    except TypeError:
        return False
    return b"\\" not in text and b"\x7f" not in text and max(map(len, values), default=0) <= MAX_VALUE_BYTES  # pyright: ignore[reportArgumentType]


def _fitting(event: Any, key: bytes | None, timestamp: int) -> Any:
    """Return an event, or its fault where it does not fit the record that it came in."""
    if key != event.user_id.encode():
        return _wrong_key(key, event.user_id)
    ahead = event.timestamp - timestamp
    if ahead > MAX_AHEAD_MS and timestamp >= 0:
        detail = f"timestamp: {event.timestamp} is {ahead} ms after the record's own {timestamp}; at most {MAX_AHEAD_MS} ms fit"
        return Fault(reason=DeadLetterReason.FUTURE_TIME, detail=detail)
    return event


def without(column: Sequence[Kept], places: Collection[int]) -> list[Kept]:
    """Return a sequence without what stands at some places."""
    if len(places) <= _SOME:
        rest = list(column)
        for place in sorted(places, reverse=True):
            del rest[place]
        return rest
    wanted = bytearray(b"\x01") * len(column)
    for place in places:
        wanted[place] = 0
    return list(itertools.compress(column, wanted))


def _newest(events: Sequence[Any]) -> int:
    return max(map(operator.attrgetter("timestamp"), events), default=0)


def _keyed(events: Sequence[Any], keys: Sequence[bytes | None]) -> bool:
    # No user_id holds a line's end: so where the joined texts are equal, each part is.
    return None not in keys and b"\n".join(keys) == "\n".join(map(operator.attrgetter("user_id"), events)).encode()  # pyright: ignore[reportArgumentType]


_REASONS = {"json_invalid": DeadLetterReason.UNPARSEABLE, "finite_number": DeadLetterReason.NOT_A_NUMBER}


def _wrong_key(key: bytes | None, user_id: str) -> Fault:
    mend = f"send the user_id {user_id!a} as the key, in UTF-8"
    if not key:
        return Fault(reason=DeadLetterReason.NULL_KEY, detail=f"key: none; {mend}"[:_DETAIL_CHARACTERS])
    return Fault(reason=DeadLetterReason.KEY_MISMATCH, detail=f"key: seen {key[:128]!a}; {mend}"[:_DETAIL_CHARACTERS])


def unknown_item(item_id: str) -> Fault:
    """Say which item the catalogue does not have."""
    detail = f"item_id: {item_id!a} is not in the catalogue; add it there, then send the event again"
    return Fault(reason=DeadLetterReason.UNKNOWN_ITEM, detail=detail[:_DETAIL_CHARACTERS])


def repeated(column: str, seen: str, first: int) -> Fault:
    """Say which row a record repeats, by the column that tells."""
    detail = f"{column}: seen {seen!a} before, at offset {first} of this partition; give each event an id of its own"
    return Fault(reason=DeadLetterReason.DUPLICATE, detail=detail[:_DETAIL_CHARACTERS])


def _fault(error: ValidationError) -> Fault:
    first = error.errors(include_url=False, include_context=False)[0]
    reason = _REASONS.get(first["type"], DeadLetterReason.SCHEMA_MISMATCH)
    broken = reason is DeadLetterReason.UNPARSEABLE
    where = ".".join(str(part) for part in first["loc"]) or "value"
    seen = "" if broken else f"; seen {ascii(first['input'])[:200]}"
    return Fault(reason=reason, detail=f"{where}: {first['msg']}{seen}"[:_DETAIL_CHARACTERS])


def dead_letter(place: Place, value: bytes | None, fault: Fault) -> DeadLetter:
    """Say where a refused record stood and why it was put aside."""
    payload = value or b""
    return DeadLetter(
        topic=place[0],
        partition=place[1],
        offset=place[2],
        timestamp=place[3],
        reason=fault.reason,
        detail=fault.detail,
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        payload_base64=base64.b64encode(payload[:_KEPT_BYTES]).decode(),
    )
