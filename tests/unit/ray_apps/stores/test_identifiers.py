import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.stores.identifiers import Identifiers, Positions, packed

IDS = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=128), unique=True, max_size=50
)


def made(ids: list[str]) -> Identifiers:
    offsets, data = packed(sorted(ids))
    return Identifiers(offsets=offsets, data=data)


@given(ids=IDS, stranger=st.text(max_size=10))
def test_every_id_is_found_where_it_stands_and_no_other_is(ids: list[str], stranger: str):
    held = made(ids)
    assert list(held) == sorted(ids)
    assert [held.position(identifier) for identifier in sorted(ids)] == list(range(len(ids)))
    assert (stranger in held) == (stranger in ids)
    assert dict(Positions(held)) == {identifier: place for place, identifier in enumerate(sorted(ids))}


def test_ids_out_of_order_or_twice_are_refused():
    with pytest.raises(ValueError, match="'a' follows 'b'"):
        packed(["b", "a"])
    with pytest.raises(ValueError, match="'a' follows 'a'"):
        packed(["a", "a"])


def test_a_place_outside_is_no_place():
    with pytest.raises(IndexError):
        made(["a"])[1]
    assert made(["a", "b"])[-1] == "b"
    assert made(["a", "b", "c"])[1:] == ["b", "c"]


def test_half_a_character_is_nobody():
    assert made(["a"]).position("\ud800") is None
