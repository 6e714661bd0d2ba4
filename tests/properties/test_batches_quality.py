"""What ingest accepts is what the event schemas accept: the fast decoder never answers otherwise than pydantic."""

import json
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from ray_apps.ingest.compiled import fast_decoder
from ray_apps.ingest.quality import MAX_AHEAD_MS, MAX_VALUE_BYTES, Fault, Judge
from recsys_schemas.event_fields import EVENTS, AddedField, with_fields
from recsys_schemas.events import DeadLetterReason, RateEvent, WatchEvent

ADDED = [
    AddedField(name="device", type="string", max_length=6),
    AddedField(name="price", type="number", minimum=-1, maximum=9.5),
    AddedField(name="place", type="integer", minimum=-2.5),
    AddedField(name="again", type="boolean"),
]
KINDS = {**EVENTS, "widened": with_fields(RateEvent, ADDED)}
JUDGES = {kind: Judge(event) for kind, event in KINDS.items()}
LATE = 4_102_444_800_000
"""A record so late that no event is ahead of it."""

texts = st.one_of(
    st.text(max_size=140),
    st.text(alphabet='aé\x00\n\x7f\x1f\\"\u2028\U0001f600', max_size=8),
    st.integers(120, 135).map(lambda length: "\U0001f600" * length),
)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 1, 5, 1.0, 5.0000001, 4_102_444_800_000, 4_102_444_800_001, 1e400, -1e400, 5e-324, 0.1, True]),
    st.floats(),
    st.floats(0, 5),
)
values = st.one_of(texts, numbers, st.none(), st.booleans(), st.lists(numbers, max_size=2), st.dictionaries(texts, numbers, max_size=2))


def documents(event: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects near to an event: fields right, wrong, missing or too many."""
    right = {
        "event_id": texts,
        "user_id": texts,
        "item_id": texts,
        "timestamp": st.one_of(st.integers(0, LATE), numbers),
        "fraction": numbers,
        "rating": numbers,
        "request_id": st.one_of(texts, st.none()),
        "device": st.one_of(texts, st.none()),
        "price": numbers,
        "place": st.one_of(st.integers(-(2**63) - 1, 2**63), numbers),
        "again": st.one_of(st.booleans(), st.none(), st.sampled_from([0, 1, "true", "yes", "maybe"])),
    }
    fields = {name: st.one_of(right[name], right[name], right[name], values) for name in event.model_fields}
    required = {name: fields[name] for name, field in event.model_fields.items() if field.is_required()}
    optional = {name: fields[name] for name in fields if name not in required}
    whole = st.fixed_dictionaries(required, optional=optional | {"extra": values, "nested": st.recursive(values, st.lists, max_leaves=3)})
    return st.one_of(whole, st.fixed_dictionaries({}, optional=fields))


@st.composite
def raw_values(draw: st.DrawFn) -> tuple[str, bytes]:
    """Values of records: documents, then now and then something done to their bytes."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    document = draw(documents(KINDS[kind]))
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    where = draw(st.integers(0, len(data)))
    what = draw(st.sampled_from(["whole"] * 6 + ["cut", "insert", "twice", "spaces", "bytes"]))
    match what:
        case "cut":
            data = data[:where]
        case "insert":
            data = data[:where] + draw(st.binary(min_size=1, max_size=3)) + data[where:]
        case "twice":
            data = data[:-1] + b',"timestamp":' + draw(st.sampled_from([b"7", b"7.0", b'"7"', b"NaN", b"01", b"-0", b"1e2"])) + b"}"
        case "spaces":
            data = draw(st.sampled_from([b" ", b"\n", b"\xef\xbb\xbf", b"\x00"])) + data + draw(st.sampled_from([b" ", b"\t", b"x", b"{}"]))
        case "bytes":
            data = draw(st.binary(max_size=40))
        case _:
            pass
    return kind, data


def exact(kind: str, data: bytes) -> dict[str, Any] | None:
    try:
        return KINDS[kind].model_validate_json(data).model_dump()
    except ValidationError:
        return None


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return repr(ours) == repr(theirs)  # tells 1 from 1.0 and from True, and 0.0 from -0.0


@settings(max_examples=300, deadline=None)
@given(raw_values())
@example(("watch", b'{"event_id":"a\n","user_id":"u","item_id":"i","timestamp":1}'))
@example(("watch", b'{"event_id":"a\\n","user_id":"u","item_id":"i","timestamp":1}'))
@example(("watch", b'{"event_id":"a\x7f","user_id":"u","item_id":"i","timestamp":1}'))
@example(("watch", b'{"event_id":"\xed\xa0\x80","user_id":"u","item_id":"i","timestamp":1}'))
@example(("watch", b'{"event_id":"\\ud800","user_id":"u","item_id":"i","timestamp":1}'))
@example(("watch", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"x":"\xff"}'))
@example(("watch", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"x":' + b"[" * 250 + b"]" * 250 + b"}"))
@example(("watch", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"x":' + b"9" * 5000 + b"}"))
@example(("watch", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":' + b"9" * 5000 + b"}"))
@example(("rate", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"rating":1e400}'))
@example(("rate", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"rating":-1e-400}'))
@example(("rate", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"rating":NaN}'))
@example(("rate", b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1,"rating":2.2250738585072011e-308}'))
def test_ingest_and_the_event_schema_accept_the_same_values_and_read_them_alike(sample: tuple[str, bytes]) -> None:
    kind, data = sample
    theirs = exact(kind, data)
    key = str(theirs["user_id"]).encode() if theirs else b"u"
    read = JUDGES[kind].read(key, data, LATE)
    if isinstance(read, Fault):
        assert theirs is None
        assert read.reason in set(DeadLetterReason)
    else:
        assert theirs is not None
        assert same({name: getattr(read, name) for name in KINDS[kind].model_fields}, theirs)


GOOD = b'{"event_id":"a","user_id":"u","item_id":"i","timestamp":1}'
TORN = [
    [GOOD[:-1], b'{"x":1}}'],
    [b'{"event_id":"a}', b'{b","user_id":"u","item_id":"i","timestamp":1}', GOOD + GOOD],
    [GOOD + b"\n" + GOOD, b"{" + b" " * 9 + b"}"],
    [GOOD + GOOD, b'{"event_id":"a","user_id":"u","item_id":{', b'}{"timestamp":1}'],
    [GOOD, b"", None, GOOD],
]


@settings(max_examples=100, deadline=None)
@given(st.lists(raw_values(), max_size=80), st.sampled_from([0, 1, LATE]), st.sampled_from([GOOD, None]))
def test_records_that_are_judged_together_are_judged_as_each_would_be_alone(
    samples: list[tuple[str, bytes]], at: int, between: bytes | None
) -> None:
    values: list[bytes | None] = [value for _, data in samples for value in (data, between)]
    assert alike(values, at)


@pytest.mark.parametrize("values", TORN)
def test_values_that_make_sense_only_together_are_no_events(values: list[bytes | None]) -> None:
    assert alike(values, LATE)
    assert any(isinstance(each, Fault) for each in JUDGES["watch"].read_all([b"u"] * len(values), values, [LATE] * len(values)))


def test_many_good_records_take_one_call_and_one_bad_among_them_is_found() -> None:
    values: list[bytes | None] = [GOOD] * 5000
    values[3777] = b'{"event_id":7}'
    judged = JUDGES["watch"].read_all([b"u"] * 5000, values, [1] * 5000)
    assert [index for index, each in enumerate(judged) if isinstance(each, Fault)] == [3777]
    assert len(judged) == 5000


def alike(values: list[bytes | None], at: int) -> bool:
    keys = [b"u" if index % 9 else None for index in range(1, len(values) + 1)]
    together = JUDGES["watch"].read_all(keys, values, [at] * len(values))
    alone = [JUDGES["watch"].read(key, value, at) for key, value in zip(keys, values, strict=True)]
    return [shown(each) for each in together] == [shown(each) for each in alone]


def shown(judged: Any) -> object:
    return judged if isinstance(judged, Fault) else [repr(getattr(judged, name)) for name in KINDS["watch"].model_fields]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_event_schema_has_a_fast_decoder(kind: str) -> None:
    assert fast_decoder(KINDS[kind]) is not None


def test_a_rule_that_the_fast_decoder_does_not_know_leaves_the_judgement_to_the_schema() -> None:
    class Even(BaseModel):
        number: Annotated[int, Field(multiple_of=2)]

    class Shaped(BaseModel):
        name: Annotated[str, Field(pattern="^[a-z]+$")]

    assert fast_decoder(Even) is None
    assert fast_decoder(Shaped) is None


@given(st.integers(0, LATE), st.integers(0, LATE))
def test_an_event_more_than_a_day_ahead_of_its_record_is_put_aside(event_ms: int, record_ms: int) -> None:
    event = WatchEvent(event_id="e", user_id="u", item_id="i", timestamp=event_ms)
    read = JUDGES["watch"].read(b"u", event.model_dump_json().encode(), record_ms)
    ahead = event_ms - record_ms > MAX_AHEAD_MS
    assert isinstance(read, Fault) == ahead
    if isinstance(read, Fault):
        assert read.reason is DeadLetterReason.FUTURE_TIME
        assert str(event_ms) in read.detail


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, DeadLetterReason.EMPTY),
        (b"", DeadLetterReason.EMPTY),
        (b"\xff", DeadLetterReason.UNPARSEABLE),
        (b'{"event_id"', DeadLetterReason.UNPARSEABLE),
        (b"[]", DeadLetterReason.SCHEMA_MISMATCH),
        (b'{"event_id":"e","user_id":5,"item_id":"i","timestamp":1}', DeadLetterReason.SCHEMA_MISMATCH),
        (b" " * (MAX_VALUE_BYTES + 1), DeadLetterReason.TOO_LARGE),
        (b" " * (10 << 20), DeadLetterReason.TOO_LARGE),
        (b'{"event_id":"e","user_id":"u","item_id":"i","timestamp":1,"fraction":NaN}', DeadLetterReason.NOT_A_NUMBER),
        (b'{"event_id":"e","user_id":"u","item_id":"i","timestamp":1,"fraction":-Infinity}', DeadLetterReason.NOT_A_NUMBER),
    ],
)
def test_a_bad_value_is_put_aside_for_its_reason(value: bytes | None, reason: DeadLetterReason) -> None:
    read = JUDGES["watch"].read(b"u", value, LATE)
    assert isinstance(read, Fault)
    assert read.reason is reason


def test_a_fault_names_the_field_and_the_value_seen() -> None:
    read = JUDGES["watch"].read(b"u", b'{"event_id":"e","user_id":5,"item_id":"i","timestamp":1}', LATE)
    assert isinstance(read, Fault)
    assert read.detail.startswith("user_id: ")
    assert "seen 5" in read.detail


ACCENTED = b'{"event_id":"e","user_id":"\xc3\xa9","item_id":"i","timestamp":1}'


@pytest.mark.parametrize(
    ("key", "reason"),
    [(None, DeadLetterReason.NULL_KEY), (b"", DeadLetterReason.NULL_KEY), (b"other", DeadLetterReason.KEY_MISMATCH)],
)
def test_a_record_that_is_not_keyed_by_its_user_is_put_aside(key: bytes | None, reason: DeadLetterReason) -> None:
    read = JUDGES["watch"].read(key, ACCENTED, LATE)
    assert isinstance(read, Fault)
    assert read.reason is reason
    assert "as the key" in read.detail


def test_a_key_is_the_user_id_in_utf_8() -> None:
    assert not isinstance(JUDGES["watch"].read("é".encode(), ACCENTED, LATE), Fault)
