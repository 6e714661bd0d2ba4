"""Request ids that any replica can check without shared state.

`{8 hex}{8 hex}{8 hex}.{version}.{16 hex}`: the second of the answer, the shares it was given under, chance, the version that answered,
and a keyed digest that binds them to the user. The second tells any replica until when the answer may be rewarded, and when it counts as
evidence; the shares tell what it is compared with.
"""

import hashlib
import hmac
import os

_DRAWN, _EACH = 4096, 4


class _Lot:
    """Random bytes in small pieces: each call to the kernel fetches those of a thousand. Used on the event loop only."""

    def __init__(self) -> None:
        self._bytes, self._used = b"", 0

    def hexadecimal(self) -> str:
        """Eight digits that nobody can foresee."""
        if self._used == len(self._bytes):
            self._bytes, self._used = os.urandom(_DRAWN), 0
        self._used += _EACH
        return self._bytes[self._used - _EACH : self._used].hex()


_LOT = _Lot()


def key_of(model_uid: str) -> bytes:
    """The key of a model's ids: its uid is known to the cluster, not to the users of the API."""
    return hashlib.blake2b(model_uid.encode(), digest_size=32, person=b"request-ids").digest()


def new_id(key: bytes, version: str, user_id: str, second: int, stratum: str) -> str:
    """A fresh id for one answer of that second (Unix time) and stratum (8 hex); 42 characters longer than the version's name."""
    drawn = f"{second:08x}{stratum}{_LOT.hexadecimal()}"
    return f"{drawn}.{version}.{_tag(key, drawn, version, user_id)}"


def origin_of(key: bytes, request_id: str, user_id: str) -> tuple[str, int, str] | None:
    """The version that gave this answer to this user, when (second), and under which shares; None when the id is none of ours."""
    chance, _, rest = request_id.partition(".")
    version, _, tag = rest.rpartition(".")
    if not version or not hmac.compare_digest(tag.encode(), _tag(key, chance, version, user_id).encode()):
        return None
    return version, int(chance[:8], 16), chance[8:16]


def _tag(key: bytes, chance: str, version: str, user_id: str) -> str:
    text = f"{chance}.{version}.{user_id}"
    return hashlib.blake2b(text.encode(), digest_size=8, key=key).hexdigest()
