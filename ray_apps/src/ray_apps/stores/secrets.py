"""Secrets on a Ray cluster are files, as a volume of Kubernetes shows them: $RECSYS_SECRETS/<namespace>/<secret>/<key>.

A job's arguments show in Ray's dashboard, and so does its environment: both carry names only. The files are read where a
connection is made, and looked at again while it lasts, so that a rotated Secret takes effect without a restart.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from recsys_schemas.kafka_access import FIELDS, FOLDER, KafkaSecurity, SecretKeyName, Secrets, client_settings, flaw

LOOK_EVERY_S = 10.0
"""How often files are looked at again; a kubelet itself takes up to a minute to show a change."""
_LONGEST = 1 << 20  # no Secret of Kubernetes is larger
_GUIDE = "docs/guides/kafka-security.md"


class SecretsError(Exception):
    """A Secret cannot be read here; the message names the field, what was seen and the mend, never what is in it."""


def read_secrets(security: KafkaSecurity | None) -> Secrets:
    """What the references hold now; nothing for plain text.

    Raises:
        SecretsError: a file is missing, unreadable, or does not hold what it should.
    """
    if security is None:
        return Secrets()
    return Secrets(values={what: _read(security.namespace, ref, what, FIELDS[what]) for what, ref in security.named().items()})


def connection_settings(bootstrap_servers: Sequence[str], security: KafkaSecurity | None) -> dict[str, str]:
    """librdkafka's settings with what the Secrets hold now; never to be logged.

    Raises:
        SecretsError: as `read_secrets`.
    """  # noqa: D403 - a library's name is written as it writes itself
    return client_settings(bootstrap_servers, security, read_secrets(security))


class Rotation:
    """Sees that Secrets have changed since they were last read."""

    def __init__(self, security: KafkaSecurity | None, *, every_s: float = LOOK_EVERY_S) -> None:
        """Read them for the first time.

        Raises:
            SecretsError: as `read_secrets`.
        """
        self._security = security
        self._every_s = every_s
        self.now = read_secrets(security)
        self._look_at = time.monotonic() + every_s

    def changed(self) -> bool:
        """Whether they hold something else than before, in `now` from then on; looks when it is time to.

        Raises:
            SecretsError: as `read_secrets`; what was read before stays in `now`.
        """
        if self._security is None or time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + self._every_s
        fresh = read_secrets(self._security)
        if fresh == self.now:
            return False
        self.now = fresh
        return True


def read_secret(namespace: str, ref: SecretKeyName, field: str) -> str:
    """What one key of a Secret holds now, for the field that names it.

    Raises:
        SecretsError: the file is missing, unreadable, or does not hold what it should.
    """
    return _read(namespace, ref, "token", field)


def _read(namespace: str, ref: SecretKeyName, what: str, field: str) -> str:
    root = os.environ.get(FOLDER)
    if not root:
        words = f"{field}: the environment variable {FOLDER} is not set on the Ray cluster, so Secret {namespace}/{ref.secret}"
        raise SecretsError(f"{words} cannot be read; mount it and set the variable (see {_GUIDE})")
    place = f"{field}: ${FOLDER}/{namespace}/{ref.secret}/{ref.key}"
    try:
        with (Path(root) / namespace / ref.secret / ref.key).open("rb") as file:
            held = file.read(_LONGEST + 1)
    except OSError as error:
        raise SecretsError(f"{place}: {error.strerror} on the Ray cluster; mount the Secret there (see {_GUIDE})") from None
    try:
        # An editor's and kubectl's files end with a line's end, which no password has.
        text = held[:_LONGEST].decode().strip("\r\n")
    except UnicodeDecodeError:
        raise SecretsError(f"{place}: is no text; write it as plain text") from None
    wrong = "is longer than any Secret" if len(held) > _LONGEST else flaw(what, text)
    if wrong is not None:
        raise SecretsError(f"{place}: {wrong}")
    return text
