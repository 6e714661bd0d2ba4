"""Request ids that any replica can check without shared state.

`{16 hex}.{version}.{16 hex}`: chance, the version that answered, and a keyed digest that binds both to the user.
"""

import hashlib
import hmac
import secrets


def key_of(model_uid: str) -> bytes:
    """The key of a model's ids: its uid is known to the cluster, not to the users of the API."""
    return hashlib.blake2b(model_uid.encode(), digest_size=32, person=b"request-ids").digest()


def new_id(key: bytes, version: str, user_id: str) -> str:
    """A fresh id for one answer; 35 characters longer than the version's name."""
    chance = secrets.token_hex(8)
    return f"{chance}.{version}.{_tag(key, chance, version, user_id)}"


def version_of(key: bytes, request_id: str, user_id: str) -> str | None:
    """The version that gave this answer to this user; None when the id is not one of ours, or another user's."""
    chance, _, rest = request_id.partition(".")
    version, _, tag = rest.rpartition(".")
    if not version or not hmac.compare_digest(tag.encode(), _tag(key, chance, version, user_id).encode()):
        return None
    return version


def _tag(key: bytes, chance: str, version: str, user_id: str) -> str:
    text = f"{chance}.{version}.{user_id}"
    return hashlib.blake2b(text.encode(), digest_size=8, key=key).hexdigest()
