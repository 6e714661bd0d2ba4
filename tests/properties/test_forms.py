"""Records that are read by the thousand are judged as each would be alone: the same rows, the same faults, in the same order."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from properties.stored import Stored
from properties.test_batches_quality import KINDS, numbers, raw_values, texts, values
from properties.test_fuzzed_events import records as fuzzed
from ray_apps.ingest import bulk as bulk_of_records
from ray_apps.ingest import forms
from ray_apps.ingest.bulk import Bulk
from ray_apps.ingest.columns import event_columns
from ray_apps.ingest.duplicates import Duplicates
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Judging
from ray_apps.ingest.quality import MAX_AHEAD_MS, Fault, Judge
from ray_apps.ingest.slots import well_formed
from ray_apps.ingest.texts import MOST_BYTES, Texts
from recsys_schemas.events import DeadLetter, DeadLetterReason

NOW = 1_700_000_000_000
Read = tuple[list[str], dict[int, Fault]]


class Counting(Judge):
    """The exact judge, and how many records it was asked for."""

    asked = 0

    def read_all(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Sequence[int]) -> list[Any]:
        self.asked += len(values)
        return super().read_all(keys, values, timestamps)


BULKS = {kind: Bulk(Judge(event)) for kind, event in KINDS.items()}
"""They live as long as the tests: what was learned from one run of records must be right for all others."""


def shown(events: pa.RecordBatch) -> list[str]:
    events.validate(full=True)
    return [repr(row) for row in events.to_pylist()]  # tells 1 from 1.0 and from True, and 0.0 from -0.0


def together(bulk: Bulk, keys: Sequence[bytes | None], raw: Sequence[bytes | None], times: Sequence[int]) -> Read:
    events, faults = bulk.read(keys, raw, np.array(times, np.int64))
    return shown(events), faults


def alone(kind: str, keys: Sequence[bytes | None], raw: Sequence[bytes | None], times: Sequence[int]) -> Read:
    """The oracle: each record by itself."""
    judge, schema = Judge(KINDS[kind]), event_columns(KINDS[kind])
    judged = [judge.read(*record) for record in zip(keys, raw, times, strict=True)]
    rows = [{name: getattr(each, name) for name in schema.names} for each in judged if not isinstance(each, Fault)]
    return [repr(row) for row in rows], {at: each for at, each in enumerate(judged) if isinstance(each, Fault)}


def good(number: int, **other: Any) -> bytes:
    event = {
        "event_id": f"w-{number}",
        "user_id": "u",
        "item_id": f"i{number % 7}",
        "timestamp": NOW - number,
        "fraction": number % 100 / 100,
    }
    return json.dumps(event | other).encode()


def run_of(odd: Sequence[bytes | None], count: int = 150) -> list[bytes | None]:
    """A run of good values with odd ones at its beginning, in its middle and at its end."""
    some: list[bytes | None] = [good(number) for number in range(count)]
    return [*odd, *some[: count // 2], *odd, *some[count // 2 :], *odd]


def differs(
    bulk: Bulk, raw: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None, times: Sequence[int] | None = None
) -> bool:
    keys, times = keys or [b"u"] * len(raw), times or [NOW] * len(raw)
    return together(bulk, keys, raw, times) != alone("watch", keys, raw, times)


LIKE = b'{"event_id": "w-1", "user_id": "u", "item_id": "i1", "timestamp": 1699999999999, "fraction": 0.01}'
assert good(1) == LIKE


def with_timestamp(token: bytes) -> bytes:
    return LIKE.replace(b"1699999999999", token)


def with_fraction(token: bytes) -> bytes:
    return LIKE.replace(b"0.01", token)


def with_id(text: bytes) -> bytes:
    return LIKE.replace(b"w-1", text)


ODD: dict[str, Sequence[bytes | None]] = {
    "numbers that are no integers": [
        with_timestamp(token) for token in (b"1.0", b"1e3", b"1E3", b"1.", b"-1", b"+1", b'"1"', b"true", b"null", b"")
    ],
    "integers written in odd ways": [
        with_timestamp(token) for token in (b"0", b"-0", b"00", b"01", b"0x10", b"1_0", b" 1", b"1 ", b"1 1", b"\xd9\xa1")
    ],
    "integers at their bounds": [
        with_timestamp(str(n).encode()) for n in (4_102_444_800_000, 4_102_444_800_001, 2**63, 2**64, 10**17, 10**18, 10**40)
    ],
    "fractions at their bounds": [
        with_fraction(token) for token in (b"1", b"1.0", b"1.0000000000000001", b"1.000000000000001", b"1.1", b"0", b"2")
    ],
    "fractions written in odd ways": [
        with_fraction(token)
        for token in (b"-0", b"-0.0", b"-0.5", b".5", b"0.", b"0..5", b"0.1.2", b".", b"00.5", b"1e-1", b"0.5e0", b"0.5f", b"0,5")
    ],
    "fractions of many digits": [with_fraction(b"0." + b"1234567890" * times) for times in (1, 2, 5, 60)]
    + [with_fraction(b"0." + b"9" * digits) for digits in range(14, 25)]
    + [with_fraction(repr(1 / number).encode()) for number in range(3, 60)],
    "what is no number": [
        with_fraction(token) for token in (b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"{}", b"[]", b"[0.5]", b'"0.5"')
    ],
    "escapes": [with_id(text) for text in (b"\\u0000", b"\\n", b"\\u0061", b"\\ud83d\\ude00", b"\\ud800", b"\\", b'\\"', b"\\x")],
    "control characters": [with_id(text) for text in (b"\n", b"\r", b"\t", b"\x00", b"\x1f", b"\x7f", b"\xc2\x80")],
    "what is no UTF-8": [with_id(text) for text in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x80")],
    "other letters": [
        with_id(text.encode()) for text in ("é", "\u2028", "\U0001f600", "é" * 64, "é" * 65, "é" * 128, "é" * 129, "\U0001f600" * 128)
    ],
    "texts at their bounds": [with_id(text) for text in (b"", b" ", b"x" * 128, b"x" * 129, b"x" * MOST_BYTES)],
    "quotation marks elsewhere": [with_id(b'a"b'), with_id(b'","x":"'), LIKE.replace(b'"u"', b'u""'), LIKE.replace(b'"w-1"', b"'w-1'")],
    "names exchanged": [LIKE.replace(b"user_id", b"item-id").replace(b"item_id", b"user_id").replace(b"item-id", b"item_id")],
    "names of other cases or lengths": [
        LIKE.replace(b"item_id", name) for name in (b"Item_id", b"item_i", b"item_idx", b"item id", b"fraction")
    ],
    "a name twice": [LIKE[:-1] + b', "timestamp": 5}', LIKE.replace(b"fraction", b"timestamp"), b'{"event_id": "x", ' + LIKE[1:]],
    "fields more or fewer": [good(1, extra=value) for value in (None, 1, 1.5, "x", True, [], {}, [[1]], "\x00", 10**30)],
    "nulls": [LIKE.replace(b"0.01", b"null"), LIKE.replace(b'"w-1"', b"null"), good(1, request_id=None), good(1, request_id="r")],
    "missing": [
        LIKE.replace(b', "fraction": 0.01', b""),
        LIKE.replace(b'"event_id": "w-1", ', b""),
        b"{}",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        None,
        b"",
    ],
    "around it": [
        b"\xef\xbb\xbf" + LIKE,
        LIKE + b"x",
        LIKE + b" ",
        b" " + LIKE,
        b"\n" + LIKE + b"\n",
        LIKE + b"\x00",
        LIKE + LIKE,
        LIKE + b"," + LIKE,
    ],
    "within it": [
        LIKE.replace(b", ", b",\n"),
        LIKE.replace(b", ", b" , "),
        LIKE.replace(b": ", b":"),
        LIKE.replace(b", ", b",, ", 1),
        LIKE[1:],
        LIKE[:-1],
    ],
    "torn in two": [LIKE[:40], LIKE[40:], LIKE[:-1], b"}", LIKE[:13], LIKE[13:], b"{", LIKE[1:]],
    "torn within a letter": [with_id(b"\xc3"), b"\xa9" + LIKE[20:], LIKE + b"\xc3", b"\xa9" + LIKE],
    "deep and long": [
        LIKE[:-1] + b', "x": ' + b"[" * 300 + b"]" * 300 + b"}",
        LIKE[:-1] + b', "x": "' + b"y" * MOST_BYTES + b'"}',
        b" " * 2_000_000,
    ],
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_values_among_good_ones_are_judged_as_they_would_be_alone(kind: str) -> None:
    assert not differs(Bulk(Judge(KINDS["watch"])), run_of(ODD[kind]))
    for value in ODD[kind]:
        assert not differs(BULKS["watch"], run_of([value], 70))


def test_values_of_one_form_need_no_exact_judge_and_odd_ones_do() -> None:
    judge = Counting(KINDS["watch"])
    bulk = Bulk(judge)
    assert not differs(bulk, [good(number) for number in range(500)])
    assert judge.asked == 0
    odd = [b"{", with_id(b"\\n"), with_fraction(b"1e-1")]
    assert not differs(bulk, run_of(odd))
    assert judge.asked == 3 * len(odd)


def test_several_producers_on_one_topic_are_each_read_by_their_own_form() -> None:
    judge = Counting(KINDS["watch"])
    raw: list[bytes | None] = []
    for number in range(400):
        compact = json.dumps(json.loads(good(number)), separators=(",", ":")).encode()
        backward = json.dumps(dict(reversed(json.loads(good(number)).items()))).encode()
        raw.append([good(number), compact, backward, good(number, request_id=f"r{number}", source="tv", retries=number)][number % 4])
    bulk = Bulk(judge)
    assert not differs(bulk, raw)
    judge.asked = 0
    assert not differs(bulk, raw)
    assert judge.asked == 0


def test_what_is_refused_is_no_form_however_often_it_comes() -> None:
    for value in (
        LIKE.replace(b'"event_id": "w-1", ', b""),
        with_timestamp(b'"1"x'),
        with_timestamp(b"01"),
        LIKE.replace(b"0.01", b"true"),
    ):
        assert not differs(Bulk(Judge(KINDS["watch"])), [value] * 300)


def test_a_number_that_is_written_as_a_text_is_taken_by_the_exact_judge_only() -> None:
    judge = Counting(KINDS["watch"])
    assert not differs(Bulk(judge), [with_timestamp(b'"%d"' % number) for number in range(100)])
    assert judge.asked == 100


@pytest.mark.parametrize("when", [NOW - MAX_AHEAD_MS - 200, NOW - MAX_AHEAD_MS - 75, NOW, 0, -1])
def test_times_ahead_of_their_records_are_found_among_the_others(when: int) -> None:
    raw = run_of([with_timestamp(b"1700086400001")])
    assert not differs(Bulk(Judge(KINDS["watch"])), raw, times=[when] * len(raw))


def test_wrong_keys_are_found_among_the_others() -> None:
    keys = [[b"u", None, b"", b"v", b"uu", b"\xff"][number % 37 % 6] for number in range(300)]
    raw = [good(number) for number in range(300)]
    assert not differs(Bulk(Judge(KINDS["watch"])), raw, keys)
    shifted = [b"u1", b"u"] * 150  # joined they are the same
    assert not differs(Bulk(Judge(KINDS["watch"])), [good(number, user_id=["u", "1u"][number % 2]) for number in range(300)], shifted)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[bytes | None], list[bytes | None], list[int]]:
    """Records of producers that each write in a way of their own, with broken ones among them."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    extras = {"extra": st.one_of(values, numbers), "ö": texts}
    right = {
        "event_id": st.text(st.characters(min_codepoint=32), min_size=1, max_size=8),
        "user_id": st.sampled_from(["u", "é", "v"]),
        "item_id": texts.filter(bool),
        "timestamp": st.integers(0, NOW),
        "fraction": st.one_of(st.sampled_from([0, 1, 0.25, 1.0, 0.1, 1e-7]), st.floats(0, 1)),
        "rating": st.one_of(st.integers(0, 5), st.floats(0, 5)),
        "request_id": st.one_of(st.none(), st.text("ab", min_size=1)),
        "device": st.one_of(st.none(), st.text("aé\x7f", max_size=7)),
        "price": st.one_of(st.integers(-1, 10), st.floats(-1, 9.5)),
        "place": st.integers(-3, 2**63),
        "again": st.booleans(),
    }
    raw: list[bytes | None] = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.permutations([*KINDS[kind].model_fields, *draw(st.sampled_from([[], ["extra"], ["extra", "ö"]]))]))
        style: dict[str, Any] = draw(
            st.sampled_from([{}, {"separators": (",", ":")}, {"separators": (" , ", " :")}, {"ensure_ascii": False}, {"indent": 1}])
        )
        some = draw(st.lists(st.fixed_dictionaries({name: (right | extras)[name] for name in names}), min_size=1, max_size=4))
        raw += [json.dumps(some[number % len(some)], **style).encode("utf-8", "surrogatepass") for number in range(80)]
    for broken in draw(st.lists(raw_values(), max_size=6)):
        raw.insert(draw(st.integers(0, len(raw))), broken[1])
    keys: list[bytes | None] = [_user(value) for value in raw]
    if draw(st.booleans()):
        keys = [draw(st.sampled_from([b"u", "é".encode(), None]))] * len(raw)
    return kind, keys, raw, [draw(st.sampled_from([NOW, NOW - MAX_AHEAD_MS * 2, -1]))] * len(raw)


def _user(value: bytes | None) -> bytes:
    try:
        return json.loads(value or b"")["user_id"].encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return b"u"


@settings(max_examples=60, deadline=None)
@given(written())
def test_records_that_are_read_together_are_judged_as_each_would_be_alone(
    records: tuple[str, list[bytes | None], list[bytes | None], list[int]],
) -> None:
    kind, keys, raw, times = records
    for bulk in (BULKS[kind], Bulk(Judge(KINDS[kind]))):
        assert together(bulk, keys, raw, times) == alone(kind, keys, raw, times)


def judged(event_types: dict[str, str], grounds: Grounds) -> tuple[list[str], list[DeadLetter]]:
    judging, found, letters = Judging(event_types, grounds), list[str](), list[DeadLetter]()
    chance = random.Random(7)
    stored = [*itertools.islice(fuzzed(seed=9), 3000)]
    plain = [
        Stored((*event.place[:2], event.place[2]), good(chance.randrange(2500), rating=number % 6)) for number, event in enumerate(stored)
    ]
    mixed = [each if chance.random() < 0.1 else other for each, other in zip(stored, plain, strict=True)]
    for begin in range(0, len(mixed), 997):
        chunk = judging.chunk(mixed[begin : begin + 997], {})
        letters += chunk.letters
        found += [row for event_type in sorted(chunk.rows) for row in shown(chunk.rows[event_type])]
    return found, letters


def test_rows_and_dead_letters_and_their_order_are_those_of_the_exact_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    some = frozenset(f"i{number}" for number in range(6))
    catalogue: Any = SimpleNamespace(items=some)
    kinds = {"w": "watch", "r": "rate"}
    by_form = judged(kinds, Grounds(duplicates=Duplicates(1000), catalogue=catalogue))
    monkeypatch.setattr(bulk_of_records, "_FEW", 1_000_000)
    one_by_one = judged(kinds, Grounds(duplicates=Duplicates(1000), catalogue=catalogue))
    assert by_form == one_by_one
    reasons = Counter(letter.reason for letter in by_form[1])
    assert reasons[DeadLetterReason.DUPLICATE] > 100
    assert reasons[DeadLetterReason.UNKNOWN_ITEM] > 100
    assert len(by_form[0]) > 500


def _every_text_is_plain(patch: pytest.MonkeyPatch) -> None:
    of = Texts.of

    def twin(values: Sequence[bytes | None]) -> Texts:
        made = of(values)
        made.plain[:] = True
        return made

    patch.setattr(Texts, "of", twin)


def _any_text_between_slots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Texts, "holds", lambda _self, _words, at: np.ones(len(at), np.bool_))


def _any_digits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forms, "well_formed", lambda tokens, *, whole: well_formed(tokens, whole=whole) | np.ones(len(tokens), np.bool_))


def _dots_in_integers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forms, "well_formed", lambda tokens, **_: well_formed(tokens, whole=False))


def _no_bounds_of_numbers(patch: pytest.MonkeyPatch) -> None:
    read = forms.read_number

    def twin(tokens: pa.Array, rule: Any) -> Any:
        found, fitting = read(tokens, rule)
        return found, fitting | True

    patch.setattr(forms, "read_number", twin)


def _no_bounds_of_texts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forms.Slot, "sizes", property(lambda _self: (0, 18)))


TWINS: list[Callable[[pytest.MonkeyPatch], None]] = [
    _every_text_is_plain,
    _any_text_between_slots,
    _any_digits,
    _dots_in_integers,
    _no_bounds_of_numbers,
    _no_bounds_of_texts,
]


@pytest.mark.parametrize("twin", TWINS)
def test_a_reader_that_accepts_too_much_is_caught(twin: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    twin(monkeypatch)

    def caught(odd: Sequence[bytes | None]) -> bool:
        try:
            return differs(Bulk(Judge(KINDS["watch"])), run_of(odd))
        except Exception:  # noqa: BLE001 (one that cannot go on is caught, too)
            return True

    assert any(caught([value]) for odd in ODD.values() for value in odd)
