"""Signed tokens: who is let in, and every known way to get in without being let (RFC 8725)."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ray_apps.serving.jwks import ASKED_AGAIN_S, KeySet, read_keys
from ray_apps.serving.jwt_bearer import LONGEST, Bearers, NoKeysError, RefusedTokenError
from recsys_schemas.serving_record import JwtTrust, Role

TRUST = JwtTrust(issuer="https://idp.test", audience="recsys", jwks_uri="https://idp.test/jwks")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
CURVE = ec.generate_private_key(ec.SECP256R1())
WIDE = ec.generate_private_key(ec.SECP384R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public(key: Any, key_id: str, **more: str) -> dict[str, Any]:
    of = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm, ed25519.Ed25519PrivateKey: OKPAlgorithm}
    kind: Any = next(made for base, made in of.items() if isinstance(key, base))
    told: Any = kind.to_jwk(key.public_key())
    return json.loads(told) | {"kid": key_id} | more


SECRET = base64.urlsafe_b64encode(b"everybody knows this secret, for it is published").decode()
PUBLISHED = {
    "keys": [
        public(RSA, "rsa"),
        public(CURVE, "curve"),
        public(SMALL, "small"),
        public(WIDE, "wide"),
        public(EDWARDS, "edwards"),
        public(OTHER, "encrypts", use="enc"),
        public(OTHER, "for-512", alg="RS512"),
        {"kty": "oct", "kid": "shared", "k": SECRET},
        {"kty": "RSA", "kid": "broken", "n": "AQAB", "e": "!"},
        {"kty": "RSA"},
        "no key",
    ]
}


class Issuer:
    """What a real one publishes, without its network."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | None = PUBLISHED
        self.fetched = 0

    def fetch(self, uri: str) -> bytes:
        assert uri == TRUST.jwks_uri
        self.fetched += 1
        if self.document is None:
            raise ValueError("it does not answer")
        return json.dumps(self.document).encode()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer, wait_until: Callable[..., None]):
    made = KeySet(TRUST.jwks_uri, issuer.fetch)
    wait_until(lambda: made.known)
    yield made
    made.close()


@pytest.fixture
def bearers(keys: KeySet) -> Bearers:
    return Bearers(TRUST, keys)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {"iss": TRUST.issuer, "aud": TRUST.audience, "sub": "shop-web", "exp": now + 6000, "iat": now, "roles": ["reader"]} | changes
    return {name: value for name, value in told.items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", key_id: str | None = "rsa", **changes: Any) -> bytes:
    head = {"kid": key_id} if key_id is not None else {}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=head).encode()


def by_hand(head: dict[str, Any], told: dict[str, Any], signature: Callable[[bytes], bytes]) -> bytes:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    text = part(json.dumps(head).encode()) + b"." + part(json.dumps(told).encode())
    return text + b"." + part(signature(text))


def mac(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda text: hmac.new(secret, text, hashlib.sha256).digest()


@pytest.mark.parametrize(
    ("made", "roles"),
    [
        (token, {"reader"}),
        (lambda: token(CURVE, "ES256", "curve", roles="writer metrics other"), {"writer", "metrics"}),
        (lambda: token(aud=["elsewhere", "recsys"], roles=["operator", 7, None]), {"operator"}),
        (lambda: token(exp=int(time.time()) - 1), {"reader"}),
        (lambda: token(nbf=int(time.time()) + 10), {"reader"}),
    ],
    ids=["rsa", "curve, roles in words", "several audiences", "expired within the leeway", "valid within the leeway"],
)
def test_a_good_token_is_taken(bearers: Bearers, made: Callable[[], bytes], roles: set[str]):
    good = made()
    for _ in range(2):
        client = bearers.client(good)
        assert (client.name, client.roles) == ("jwt:shop-web", {Role(role) for role in roles})


NOW = int(time.time())
"""Of the import: what is to come is a day off, what is past stays past."""
HEAD = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
RS256 = jwt.algorithms.RSAAlgorithm(RSAAlgorithm.SHA256)


def signed(text: bytes) -> bytes:
    return RS256.sign(text, RSA)


GOOD = token()
HOSTILE: dict[str, bytes] = {
    "no signature, alg none": by_hand({"alg": "none", "kid": "rsa"}, claims(), lambda _: b""),
    "alg None": by_hand({"alg": "None", "kid": "rsa"}, claims(), lambda _: b""),
    "alg nOnE": by_hand({"alg": "nOnE", "kid": "rsa"}, claims(), lambda _: b""),
    "alg empty": by_hand({"alg": "", "kid": "rsa"}, claims(), lambda _: b""),
    "alg missing": by_hand({"kid": "rsa"}, claims(), signed),
    "alg a list": by_hand({"alg": ["RS256"], "kid": "rsa"}, claims(), signed),
    "alg null": by_hand({"alg": None, "kid": "rsa"}, claims(), signed),
    "HS256 by the public key as PEM": by_hand({"alg": "HS256", "kid": "rsa"}, claims(), mac(PEM)),
    "HS256 by the published secret": by_hand({"alg": "HS256", "kid": "shared"}, claims(), mac(base64.urlsafe_b64decode(SECRET))),
    "RS256 said, HS256 done": by_hand(HEAD, claims(), mac(PEM)),
    "RS512": token(algorithm="RS512"),
    "PS256": token(algorithm="PS256"),
    "ES256 said of an RSA key": by_hand({"alg": "ES256", "kid": "rsa"}, claims(), signed),
    "RS256 said of a curve's key": by_hand({"alg": "RS256", "kid": "curve"}, claims(), signed),
    "EdDSA": token(EDWARDS, "EdDSA", "edwards"),
    "a weak RSA key": token(SMALL, "RS256", "small"),
    "a curve that is not taken": token(WIDE, "ES384", "wide"),
    "a key for encryption": token(OTHER, "RS256", "encrypts"),
    "a key for another algorithm": token(OTHER, "RS256", "for-512"),
    "a key that is broken": token(OTHER, "RS256", "broken"),
    "another's key under a known id": token(OTHER),
    "an unknown key": token(OTHER, "RS256", "other"),
    "no key id": token(key_id=None),
    "key id a number": by_hand({**HEAD, "kid": 7}, claims(), signed),
    "key id a list": by_hand({**HEAD, "kid": ["rsa"]}, claims(), signed),
    "key id null": by_hand({**HEAD, "kid": None}, claims(), signed),
    "key id a path": token(key_id="../../etc/passwd"),
    "key id a command": token(key_id="rsa' OR '1'='1"),
    "key id an address": token(key_id="https://evil.test/jwks"),
    "key id of another case": token(key_id="RSA"),
    "key id of a megabyte": token(key_id="k" * 1_000_000),
    "own key in the header (jwk)": by_hand(
        {"alg": "RS256", "jwk": public(OTHER, "o"), "kid": "o"}, claims(), lambda t: RS256.sign(t, OTHER)
    ),
    "own key set in the header (jku)": by_hand(
        {"alg": "RS256", "jku": "https://evil.test", "kid": "o"}, claims(), lambda t: RS256.sign(t, OTHER)
    ),
    "own certificate in the header (x5u)": by_hand(
        {"alg": "RS256", "x5u": "https://e.test", "kid": "o"}, claims(), lambda t: RS256.sign(t, OTHER)
    ),
    "a critical extension": by_hand({**HEAD, "crit": ["exp"], "exp": 0}, claims(), signed),
    "unencoded payload (b64)": by_hand({**HEAD, "b64": False, "crit": ["b64"]}, claims(), signed),
    "expired": token(exp=NOW - 100),
    "expired long ago": token(exp=1),
    "no expiry": token(exp=None),
    "expiry a text": by_hand(HEAD, claims(exp="tomorrow"), signed),
    "expiry not a number": by_hand(HEAD, claims() | {"exp": None}, signed),
    "expiry beyond all bounds": by_hand(HEAD, claims(exp=10**400), signed),
    "not yet valid": token(nbf=NOW + 90_000),
    "not yet valid, in words": by_hand(HEAD, claims(nbf="later"), signed),
    "issued tomorrow": token(iat=NOW + 90_000),
    "another issuer": token(iss="https://evil.test"),
    "issuer with a slash": token(iss=TRUST.issuer + "/"),
    "no issuer": token(iss=None),
    "issuer a list": by_hand(HEAD, claims(iss=[TRUST.issuer]), signed),
    "another audience": token(aud="elsewhere"),
    "no audience": token(aud=None),
    "audience empty": token(aud=[]),
    "audience longer": token(aud="recsys-admin"),
    "audience a number": by_hand(HEAD, claims(aud=7), signed),
    "no subject": token(sub=None),
    "subject empty": token(sub=""),
    "subject a number": by_hand(HEAD, claims(sub=7), signed),
    "subject with a line": token(sub="a\nb"),
    "subject of a thousand": token(sub="a" * 1000),
    "no roles": token(roles=None),
    "roles empty": token(roles=[]),
    "roles unknown": token(roles=["root", "READER"]),
    "roles an object": token(roles={"reader": True}),
    "roles nested": token(roles=[["reader"]]),
    "claims a list": by_hand(HEAD, [], signed),  # pyright: ignore[reportArgumentType] - that is the point
    "signature cut": GOOD[:-20],
    "signature of another": GOOD.rsplit(b".", 1)[0] + b"." + token(OTHER).rsplit(b".", 1)[1],
    "claims exchanged": GOOD.split(b".")[0] + b"." + token(roles=["operator"]).split(b".")[1] + b"." + GOOD.split(b".")[2],
    "four parts": GOOD + b".x",
    "two parts": GOOD.rsplit(b".", 1)[0],
    "only dots": b"..",
    "no base64": b"?.?.?",
    "not UTF-8": b"\xff\xfe.\xff.\xff",
    "nulls": b"\x00" * 50,
    "huge": b"a" * (LONGEST + 1),
    "deeply nested": by_hand(HEAD, {"iss": 1}, signed)[:0] + base64.urlsafe_b64encode(b"[" * 3000) + b".e30.x",
}


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_is_refused_and_nothing_in_it_is_told(bearers: Bearers, made: bytes):
    with pytest.raises(RefusedTokenError) as refused:
        bearers.client(made)
    assert "evil" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_twin_that_lets_tokens_choose_the_algorithm_takes_what_must_be_refused():
    made = HOSTILE["HS256 by the published secret"]
    told = jwt.decode(made, base64.urlsafe_b64decode(SECRET), algorithms=["RS256", "HS256"], audience="recsys")
    assert told["sub"] == "shop-web", "the battery holds tokens that a careless check takes"


def test_a_rotated_key_is_known_soon_and_a_withdrawn_one_no_longer(
    bearers: Bearers, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
):
    assert bearers.client(GOOD)
    monkeypatch.setattr("ray_apps.serving.jwks.ASKED_AGAIN_S", 0.01)
    issuer.document = {"keys": [public(OTHER, "next")]}
    fresh = token(OTHER, "RS256", "next")

    def taken() -> bool:
        try:
            return bool(bearers.client(fresh))
        except RefusedTokenError:
            return False

    quick = KeySet(TRUST.jwks_uri, issuer.fetch)
    wait_until(lambda: quick.known)
    bearers._keys = quick
    wait_until(taken)
    with pytest.raises(RefusedTokenError):
        bearers.client(GOOD)
    quick.close()


def test_keys_are_trusted_for_a_day_without_their_issuer_and_no_longer(issuer: Issuer, wait_until: Callable[..., None]):
    now = [1000.0]
    keys = KeySet(TRUST.jwks_uri, issuer.fetch, lambda: now[0])
    wait_until(lambda: keys.known)
    issuer.document = None
    bearers = Bearers(TRUST, keys)
    assert bearers.client(GOOD)
    now[0] += 23 * 3600
    assert bearers.client(GOOD)
    now[0] += 2 * 3600
    with pytest.raises(NoKeysError):
        bearers.client(GOOD)
    keys.close()


def test_strangers_do_not_make_us_ask_the_issuer_again_and_again(bearers: Bearers, issuer: Issuer):
    strangers = [token(OTHER, "RS256", f"stranger-{number}") for number in range(200)]
    asked, began = issuer.fetched, time.monotonic()
    for stranger in strangers:
        with pytest.raises(RefusedTokenError):
            bearers.client(stranger)
    # A machine that stands still for a while gives the keys the time to be asked for once more.
    assert issuer.fetched <= asked + 1 + (time.monotonic() - began) // ASKED_AGAIN_S


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": {}}', b"{", b"\xff", b"[" * 10_000])
def test_what_is_no_key_set_is_said_so(body: bytes):
    with pytest.raises(ValueError, match="no JSON Web Key Set"):
        read_keys(body)


def test_only_keys_that_are_strong_enough_and_for_signing_are_read():
    assert {key_id: algorithm for key_id, (algorithm, _) in read_keys(json.dumps(PUBLISHED).encode()).items()} == {
        "rsa": "RS256",
        "curve": "ES256",
    }


def test_the_api_takes_signed_tokens_beside_its_own(caller: Any, make_record: Any, bearers: Bearers):
    caller.serve(make_record(1, ("good", 100)))
    assert caller.call("POST", "/v1/recommendations", token=GOOD.decode(), json={"user_id": "a"}).status_code == 401
    caller.api._replica = replace(caller.replica, bearers=bearers)
    assert caller.call("POST", "/v1/recommendations", token=GOOD.decode(), json={"user_id": "a"}).status_code == 200
    assert caller.call("POST", "/v1/recommendations", json={"user_id": "a"}).status_code == 200
    forbidden = caller.call("GET", "/metrics", token=GOOD.decode())
    assert (forbidden.status_code, forbidden.json()["field"]) == (403, "Authorization")
    assert caller.call("GET", "/metrics", token=token(roles=["metrics"]).decode()).status_code == 200
    assert caller.call("GET", "/docs", token=token(roles=["metrics"]).decode()).status_code == 403
    expired = caller.call("GET", "/v1/model", token=token(exp=1).decode())
    assert expired.status_code == 401
    assert "has expired" in expired.json()["detail"]
    assert 'error="invalid_token"' in expired.headers["www-authenticate"]
