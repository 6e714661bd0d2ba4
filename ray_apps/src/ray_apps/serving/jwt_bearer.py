"""Bearers of signed tokens (RFC 7519, as RFC 8725 says they are to be checked): who they are and what they may do."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import jwt
from jwt.exceptions import ExpiredSignatureError, InvalidTokenError

from ray_apps.serving.clients import Client
from ray_apps.serving.jwks import KeySet
from recsys_schemas.serving_record import JwtTrust, Role

LONGEST = 8192
"""Bytes of a token; a longer one is not looked at."""
REMEMBERED = 10_000
"""Tokens whose signature was checked and that are not checked again while they hold: bounded, the longest unused go first."""
LONGEST_NAME = 256
_ALGORITHMS = ("RS256", "ES256")
_LOWEST_PRINTABLE = " "
_LAST_SECOND = 1e12


class RefusedTokenError(Exception):
    """The token is not taken; the message says why, and nothing that is in it."""


class NoKeysError(Exception):
    """The issuer's keys have not been had yet: nothing can be said of the token."""


class Bearers:
    """Checks tokens of one issuer."""

    def __init__(self, trust: JwtTrust, keys: KeySet, clock: Callable[[], float] = time.time) -> None:
        self._trust, self._keys, self._clock = trust, keys, clock
        self._digest = keys.digest
        self._known: OrderedDict[bytes, tuple[Client, float, float]] = OrderedDict()

    def client(self, token: bytes) -> Client:
        """Who bears it.

        Raises:
            RefusedTokenError: it is none of this issuer's, not for us, not signed, expired or not valid yet, or gives no role.
            NoKeysError: the issuer's keys have not been had.
        """
        if len(token) > LONGEST:
            raise RefusedTokenError(f"is longer than {LONGEST} bytes")
        if self._keys.digest != self._digest:
            self._known.clear()  # a key may have been withdrawn
            self._digest = self._keys.digest
        name = hashlib.sha256(token).digest()
        known = self._known.get(name)
        now = self._clock()
        if known is not None and known[1] <= now < known[2] and self._keys.known:
            self._known.move_to_end(name)
            return known[0]
        client, since, until = self._checked(token)
        self._known[name] = (client, since, until)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return client

    def close(self) -> None:
        """Fetch no more keys."""
        self._keys.close()

    def _checked(self, token: bytes) -> tuple[Client, float, float]:
        try:
            header = jwt.get_unverified_header(token)
        except InvalidTokenError:
            raise RefusedTokenError("is no signed token") from None
        key_id, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in _ALGORITHMS:
            raise RefusedTokenError(f"is signed otherwise than by {' or '.join(_ALGORITHMS)}")
        if not isinstance(key_id, str):
            raise RefusedTokenError("names no key (kid)")
        found = self._keys.find(key_id)
        if found is None:
            if not self._keys.known:
                raise NoKeysError(f"{self._trust.jwks_uri}: {self._keys.trouble or 'the keys are being fetched'}")
            raise RefusedTokenError("is signed by a key that its issuer does not publish (a new one is known within seconds)")
        if found[0] != algorithm:
            raise RefusedTokenError("is signed by a key that is for another algorithm")
        claims = self._claims(token, found)
        since, until = (_seconds(claims.get(name, 0)) for name in ("nbf", "exp"))
        return self._client(claims), since - self._trust.leeway_seconds, until + self._trust.leeway_seconds

    def _claims(self, token: bytes, key: tuple[str, object]) -> dict[str, object]:
        try:
            return jwt.decode(
                token,
                key[1],  # pyright: ignore[reportArgumentType] - a public key, as PyJWT takes it
                algorithms=[key[0]],
                audience=self._trust.audience,
                issuer=self._trust.issuer,
                leeway=self._trust.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"], "strict_aud": False},
            )
        except ExpiredSignatureError:
            raise RefusedTokenError("has expired") from None
        except InvalidTokenError as error:
            raise RefusedTokenError(f"is not valid ({type(error).__name__}: issuer, audience, times and signature are checked)") from None
        except (ValueError, TypeError, OverflowError):
            raise RefusedTokenError("has claims that are none") from None

    def _client(self, claims: dict[str, object]) -> Client:
        told = claims.get(self._trust.roles_claim)
        words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
        roles = frozenset(role for role in Role if role.value in words)
        subject = str(claims["sub"])
        if not roles:
            raise RefusedTokenError(f"gives no role: its claim {self._trust.roles_claim!r} has none of {', '.join(Role)}")
        if not 0 < len(subject) <= LONGEST_NAME or min(subject) < _LOWEST_PRINTABLE:
            raise RefusedTokenError("has a subject (sub) that is no name")
        return Client(name=f"jwt:{subject}", roles=roles)


def _seconds(told: object) -> float:
    """A NumericDate.

    Raises:
        RefusedTokenError: it is none.
    """
    if not isinstance(told, int | float) or not abs(told) < _LAST_SECOND:
        raise RefusedTokenError("has a time (exp, nbf) that is none")
    return float(told)
