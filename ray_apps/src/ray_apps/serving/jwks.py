"""An issuer's public keys (RFC 7517), fetched beside the request path and renewed as the issuer rotates them."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

RENEW_EVERY_S = 300.0
"""How often keys are fetched again without a reason."""
ASKED_AGAIN_S = 10.0
"""How soon at the earliest a key id that is not known makes them be fetched again: strangers must not make us ask."""
KEPT_S = 24 * 3600.0
"""How long keys are trusted while their issuer does not answer."""
MOST_BYTES = 1 << 20
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
_CALL_S = 5.0

logger = logging.getLogger(__name__)
PublicKey = RSAPublicKey | EllipticCurvePublicKey
Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the issuer published."""

    by_id: Mapping[str, tuple[str, PublicKey]] = field(default_factory=dict[str, tuple[str, PublicKey]])
    """Key id → the one algorithm that it is for (RS256 or ES256), and the key."""
    fetched: float = 0.0
    digest: bytes = b""
    """Of the document: another one may have withdrawn a key."""


class KeySet:
    """The keys of one issuer. Lookups never wait; a thread fetches."""

    def __init__(self, uri: str, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to fetch."""
        self._uri, self._fetch, self._clock = uri, fetch or _get, clock
        self._keys: Keys | None = None
        self._asked = threading.Event()
        self._stopped = threading.Event()
        self.trouble = ""
        """Why the last fetch failed; empty when it did not."""
        self._thread = threading.Thread(target=self._run, name="jwks", daemon=True)
        self._thread.start()

    @property
    def known(self) -> bool:
        """Whether there are keys that may still be trusted."""
        return self._keys is not None and self._clock() - self._keys.fetched < KEPT_S

    @property
    def digest(self) -> bytes:
        """Of the document that the keys are from; empty before there is one."""
        return self._keys.digest if self._keys is not None else b""

    def find(self, key_id: str) -> tuple[str, PublicKey] | None:
        """The algorithm and the key of an id; None when there is none, and then they are fetched again before long."""
        keys = self._keys
        found = keys.by_id.get(key_id) if keys is not None and self.known else None
        if found is None:
            self._asked.set()
        return found

    def close(self) -> None:
        """Fetch no more."""
        self._stopped.set()
        self._asked.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._renew()
            self._stopped.wait(ASKED_AGAIN_S if self._keys is not None else 1.0)
            self._asked.wait(RENEW_EVERY_S if self._keys is not None else 1.0)
            self._asked.clear()

    def _renew(self) -> None:
        try:
            body = self._fetch(self._uri)
            found = read_keys(body)
        except (httpx.HTTPError, ValueError) as error:
            words = f"{type(error).__name__}: {error}"
            if words != self.trouble:
                logger.warning("keys cannot be fetched", extra={"event": "JwksTroubled", "uri": self._uri, "reason": words})
            self.trouble = words
            return
        self._keys = Keys(by_id=found, fetched=self._clock(), digest=hashlib.sha256(body).digest())
        self.trouble = ""


def read_keys(body: bytes) -> dict[str, tuple[str, PublicKey]]:
    """The signing keys of a key set that we take: RSA of 2048 bits or more for RS256, P-256 for ES256. Others are passed over.

    Raises:
        ValueError: it is no key set.
    """
    try:
        told = msgspec.json.decode(body, type=dict[str, object]).get("keys")
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON Web Key Set: {error}") from None
    if not isinstance(told, list):
        raise ValueError("no JSON Web Key Set: it has no list `keys`")  # noqa: TRY004 - of what was fetched, not of a type
    found: dict[str, tuple[str, PublicKey]] = {}
    for one in told[:MOST_KEYS]:
        if isinstance(one, dict) and isinstance(one.get("kid"), str) and one.get("use", "sig") == "sig":
            read = _key(one)
            if read is not None and one.get("alg", read[0]) == read[0]:
                found[one["kid"]] = read
    return found


def _key(told: dict[str, object]) -> tuple[str, PublicKey] | None:
    if told.get("kty") not in ("RSA", "EC"):
        return None  # `oct` among them: a published key that signs is everybody's
    try:
        key = PyJWK({name: value for name, value in told.items() if name != "alg"}).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return "RS256", key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    return None


def _get(uri: str) -> bytes:
    with httpx.Client(timeout=_CALL_S, follow_redirects=False, trust_env=False) as client, client.stream("GET", uri) as answer:
        answer.raise_for_status()
        body = b""
        for part in answer.iter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES} bytes")
        return body
