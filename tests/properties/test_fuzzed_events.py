"""Whatever is written to a topic, ingest goes on: every record is a row or a dead letter, and none is an error."""

import json
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from properties.stored import Stored
from ray_apps.ingest.duplicates import Duplicates
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Judging
from ray_apps.stores.snapshots import OFFSET, PARTITION, TOPIC
from recsys_schemas.events import DeadLetter, DeadLetterReason

EVENTS = 100_000
TYPES = {"w": "watch", "r": "rate"}
NOW = 1_700_000_000_000
ODD: list[object] = [
    *(None, True, False, 0, -1, 1, 5, 5.5, -0.0, 1e308, 2**53, 2**63, -(2**63) - 1, 10**40, float("nan"), float("inf"), -float("inf")),
    *("", "x", "x" * 129, "0", "1.5", "NaN", "null", "\x00", "\x7f", "\n", "é", "\u2028", "\ud800", "\U0001f600" * 128, " "),
    *([], {}, [1], {"a": 1}, [[[[]]]], NOW, NOW + 10**9, 4_102_444_800_001),
]


def fuzzed(chance: random.Random, number: int) -> bytes | None:
    """A value: an event, with things done to its fields, and then things done to its bytes."""
    event: dict[str, object] = {"event_id": f"e{number}", "user_id": "u", "item_id": "i", "timestamp": NOW, "rating": 3}
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        name = chance.choice([*event, "fraction", "request_id", "extra", "_offset", ""])
        if chance.random() < 0.2:
            event.pop(name, None)
        else:
            event[name] = chance.choice(ODD)
    value = json.dumps(event, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.6:
        return value
    return damaged(chance, value)


def damaged(chance: random.Random, value: bytes) -> bytes | None:
    where, until = sorted((chance.randrange(len(value) + 1), chance.randrange(len(value) + 1)))
    match chance.randrange(8):
        case 0:
            return value[:where]
        case 1:
            return value[:where] + value[until:]
        case 2:
            return value[:where] + chance.randbytes(chance.randrange(1, 5)) + value[where:]
        case 3:
            return bytes(byte ^ (1 << chance.randrange(8)) if chance.random() < 0.02 else byte for byte in value)
        case 4:
            return value[:where] + chance.choice([b"[", b"{", b'"', b"\\", b"\\u", b"\\ud800", b"9", b",", b":"]) * chance.randrange(1, 300)
        case 5:
            return value.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-32", "utf-8-sig"]))
        case 6:
            return chance.randbytes(chance.randrange(60))
        case _:
            return chance.choice([None, b"", b"null", b"[]", b"{}", b"0", b'""', b" " * 2_000_000, value * 2])


def records(seed: int) -> Iterator[Stored]:
    chance = random.Random(seed)
    ends: Counter[tuple[str, int]] = Counter()
    for number in range(EVENTS):
        partition = (chance.choice(sorted(TYPES)), chance.randrange(3))
        ends[partition] += chance.choice([1, 1, 1, 2])
        key = b"u" if chance.random() < 0.9 else chance.choice([None, b"", b"\xff", b"v"])
        at = chance.choice([NOW, NOW, NOW, -1, 0])
        yield Stored((*partition, ends[partition]), fuzzed(chance, number % 60_000), at, key)


@pytest.mark.slow
def test_a_hundred_thousand_fuzzed_records_are_each_a_row_or_a_dead_letter() -> None:
    judging, waiting, seen, expected = (
        Judging(TYPES, Grounds(duplicates=Duplicates(1000))),
        list[Stored](),
        Counter[object](),
        Counter[object](),
    )
    reasons: Counter[str] = Counter()
    for number, record in enumerate(records(seed=4)):
        expected[record.place] += 1
        waiting.append(record)
        if len(waiting) < 997 and number < EVENTS - 1:
            continue
        chunk = judging.chunk(waiting, {})
        waiting.clear()
        for rows in chunk.rows.values():
            rows.validate(full=True)
            seen.update(zip(*(rows[name].to_pylist() for name in (TOPIC, PARTITION, OFFSET)), strict=True))
            reasons["row"] += rows.num_rows
        for letter in chunk.letters:
            assert DeadLetter.model_validate_json(letter.model_dump_json()) == letter
            seen[letter.topic, letter.partition, letter.offset] += 1
            reasons[letter.reason] += 1
    assert seen == expected
    assert reasons["row"] > EVENTS / 10
    assert set(reasons) >= set(DeadLetterReason) - {DeadLetterReason.UNKNOWN_ITEM, DeadLetterReason.UNKNOWN_SCHEMA}, reasons
