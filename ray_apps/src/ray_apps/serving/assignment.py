"""The sticky split of users between arms. Pure: the same salt, user and shares give the same arm in every replica."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from recsys_schemas.serving_record import Arm, Variant

RESOLUTION = 2**64
"""Number of points on the line that users are hashed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Where each arm's part of the line ends: candidates at the low end, the stable arm above them, who is held back at the top."""

    key: bytes
    bounds: tuple[tuple[int, str], ...]
    mixed: tuple[int, str] | None = None
    """Below which point lists are mixed with this version's."""
    mirrored: tuple[int, str] | None = None
    """Below which point this version answers copies of the questions."""


def split_of(salt: str, arms: Sequence[Arm]) -> Split:
    """Lay the arms on the line; the order in which they are given does not matter.

    A candidate's part always begins at 0, so growing its share from 5 to 25 keeps the first 5 % of users on it. Of several each has its
    place by its name, which the stable arm takes over when it leaves: who is on another arm stays there.

    Raises:
        ValueError: the shares do not sum to 100.
    """
    total = sum(arm.share for arm in arms)
    if total != 100:
        raise ValueError(f"arms: shares sum to {total}; make them sum to 100")
    ordered = sorted(arms, key=lambda arm: (_ORDER[arm.variant], arm.version))
    stable = next((arm.version for arm in arms if arm.variant is Variant.STABLE), "")
    taken_over = sum(arm.ceded for arm in arms)
    bounds: list[tuple[int, str]] = []
    percent = 0
    for arm in ordered:
        own = arm.share - taken_over if arm.version == stable else arm.share
        percent += own + arm.ceded
        if own or arm.ceded:
            bounds.append((RESOLUTION * percent // 100, stable if arm.ceded else arm.version))
    return Split(
        key=hashlib.blake2b(salt.encode(), digest_size=32).digest(),
        bounds=tuple(bounds),
        mixed=next(((RESOLUTION * arm.interleaved // 100, arm.version) for arm in arms if arm.interleaved), None),
        mirrored=next(((RESOLUTION * arm.mirrored // 100, arm.version) for arm in arms if arm.mirrored), None),
    )


_ORDER = {Variant.CANDIDATE: 0, Variant.STABLE: 1, Variant.HOLDBACK: 2}


def point_of(key: bytes, user_id: str) -> int:
    """The user's place on the line, in [0, RESOLUTION): BLAKE2b (RFC 7693), keyed by the salt."""
    return int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8, key=key).digest(), "big")


def assigned(split: Split, user_id: str) -> str:
    """The version that this user gets."""
    return at(split, point_of(split.key, user_id))


def at(split: Split, point: int) -> str:
    """The version at a point of the line."""
    for end, version in split.bounds:
        if point < end:
            return version
    return split.bounds[-1][1]
