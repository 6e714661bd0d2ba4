"""Where added replicas go, for any layout: as many as asked, none moved, on as many racks as can be, as even as can be."""

from collections import Counter
from itertools import combinations, product

from hypothesis import assume, given
from hypothesis import strategies as st

from recsys_operator.plan.replicas import raised

Layout = dict[int, tuple[int, ...]]


@st.composite
def layouts(draw: st.DrawFn, *, brokers: int = 9, partitions: int = 20) -> tuple[Layout, int, dict[int, str]]:
    """A layout of one replica or more, the replicas asked, and the brokers with their racks."""
    ids = draw(st.lists(st.integers(0, 99), min_size=1, max_size=brokers, unique=True))
    racks = {broker: draw(st.sampled_from(["", "a", "b", "c"])) for broker in ids}
    asked = draw(st.integers(1, min(7, len(ids))))
    each = st.lists(st.sampled_from(ids), min_size=1, max_size=len(ids), unique=True).map(tuple)
    present = draw(st.lists(each, min_size=1, max_size=partitions))
    return dict(enumerate(present)), asked, racks


def counts(layout: Layout, racks: dict[int, str]) -> Counter[int]:
    found = Counter(dict.fromkeys(racks, 0))
    found.update(broker for brokers in layout.values() for broker in brokers)
    return found


@given(layouts())
def test_each_partition_gets_what_is_asked_and_keeps_what_it_has_in_order(given_: tuple[Layout, int, dict[int, str]]):
    present, asked, racks = given_
    after = raised(present, asked, racks)
    assert after.keys() == present.keys()
    for number, brokers in after.items():
        assert brokers[: len(present[number])] == present[number], "the leader and the order stay"
        assert len(set(brokers)) == len(brokers) == max(asked, len(present[number]))
        assert set(brokers) <= racks.keys() | set(present[number])


@given(layouts())
def test_each_partition_is_on_as_many_racks_as_it_can_be(given_: tuple[Layout, int, dict[int, str]]):
    present, asked, racks = given_
    for number, brokers in raised(present, asked, racks).items():
        held = {racks[broker] for broker in present[number]}
        free = max(0, asked - len(present[number]))
        assert len({racks[broker] for broker in brokers}) == min(len(held) + free, len(set(racks.values())))


@given(layouts())
def test_doing_it_again_changes_nothing(given_: tuple[Layout, int, dict[int, str]]):
    present, asked, racks = given_
    after = raised(present, asked, racks)
    assert raised(after, asked, racks) == after


@given(st.integers(1, 12), st.integers(1, 60), st.integers(1, 7), st.integers(0, 11))
def test_a_topic_that_was_even_is_even_within_one_afterwards(brokers: int, partitions: int, asked: int, first: int):
    assume(asked <= brokers)
    racks = dict.fromkeys(range(brokers), "")
    after = raised({number: ((number + first) % brokers,) for number in range(partitions)}, asked, racks)
    load = counts(after, racks).values()
    assert max(load) - min(load) <= 1


@given(layouts(brokers=4, partitions=4))
def test_no_other_choice_would_be_more_even(given_: tuple[Layout, int, dict[int, str]]):
    present, asked, named = given_
    racks = dict.fromkeys(named, "")
    choices = [list(combinations(sorted(racks.keys() - set(old)), max(0, asked - len(old)))) for old in present.values()]
    every = ({number: (*old, *new) for (number, old), new in zip(present.items(), chosen, strict=True)} for chosen in product(*choices))
    best = min(sum(load * load for load in counts(layout, racks).values()) for layout in every)
    assert sum(load * load for load in counts(raised(present, asked, racks), racks).values()) == best


@given(layouts(), st.integers(1, 5))
def test_in_parts_it_ends_as_even_as_at_once(given_: tuple[Layout, int, dict[int, str]], part: int):
    present, asked, named = given_
    racks = dict.fromkeys(named, "")
    now = dict(present)
    while low := [number for number, brokers in now.items() if len(brokers) < asked]:
        chosen = raised(now, asked, racks)
        now |= {number: chosen[number] for number in low[:part]}
    at_once, in_parts = counts(raised(present, asked, racks), racks), counts(now, racks)
    assert sorted(at_once.values()) == sorted(in_parts.values())


def test_a_partition_that_finds_too_few_brokers_stays_as_it_is():
    assert raised({0: (1,), 1: (9,)}, 3, {1: "", 2: ""}) == {0: (1,), 1: (9, 2, 1)}


def test_a_replica_on_a_broker_that_is_down_keeps_its_place():
    assert raised({0: (9, 1)}, 3, {1: "", 2: ""}) == {0: (9, 1, 2)}


def test_the_broker_that_has_least_comes_first():
    assert raised({0: (1,), 1: (1,), 2: (2,), 3: (1, 2)}, 2, {1: "", 2: "", 3: ""}) == {0: (1, 3), 1: (1, 3), 2: (2, 3), 3: (1, 2)}
