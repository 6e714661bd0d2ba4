"""API keys of clients, on a real API server: read anew each pass, and what is wrong with them is told without them."""

import hashlib
from pathlib import Path

import pytest

from kube.operator_world import Place, define
from recsys_dev.kubernetes import Cluster
from recsys_operator.plan.serving import arguments
from recsys_operator.state.actions import EnsureTokens
from recsys_operator.state.observed import Unavailable
from recsys_operator.world.apply import apply
from recsys_schemas.serving_record import Role

WEB, SHOP = (hashlib.sha256(key).hexdigest() for key in (b"web's key", b"shop's key"))


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture
def here(defined: Cluster, namespace: str, tmp_path: Path) -> Place:
    made = Place(cluster=defined, namespace=namespace, storage=tmp_path / "storage")
    made.model(serving={"access": {"apiKeysSecretRef": "clients"}})
    seen = made.observed()
    made.world(lambda world: apply(world, seen, EnsureTokens(secret="movies-api")))
    return made


def refused(here: Place) -> str:
    tokens = here.observed().tokens
    assert isinstance(tokens, Unavailable)
    assert tokens.refused
    return tokens.message


def test_each_clients_key_has_its_role_and_a_rotated_one_is_taken_up(here: Place) -> None:
    assert "spec.serving.access.apiKeysSecretRef: Secret" in refused(here)
    here.secret("clients", **{"web.reader": WEB, "my.shop.writer": SHOP.upper()})
    tokens = here.observed().tokens
    assert not isinstance(tokens, Unavailable)
    assert {tokens[WEB], tokens[SHOP]} == {Role.READER, Role.WRITER}
    assert len(tokens) == 4, "the API's own two beside them"
    here.kubectl("delete", "secret", "clients")
    here.secret("clients", **{"web.metrics": SHOP})
    again = here.observed().tokens
    assert not isinstance(again, Unavailable)
    assert again[SHOP] is Role.METRICS
    assert WEB not in again


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("web", WEB, "key 'web' is no <client>.<role>; roles are reader, writer, operator, admin, tester, metrics"),
        ("web.owner", WEB, "key 'web.owner' is no <client>.<role>"),
        ("web.reader", "my secret key", "the value of 'web.reader' is no SHA-256"),
    ],
)
def test_an_entry_that_is_none_is_named_and_what_is_in_it_is_not(here: Place, entry: str, value: str, words: str) -> None:
    here.secret("clients", **{entry: value})
    message = refused(here)
    assert words in message
    assert value not in message


def test_an_issuer_and_a_limit_reach_the_application(here: Place) -> None:
    issuer = {"issuer": "https://idp.test", "audience": "recsys", "jwksURI": "https://idp.test/jwks"}
    here.model(serving={"access": {"jwt": issuer, "rateLimit": {"requestsPerSecond": 5}}})
    asked = arguments(here.observed())
    assert asked.jwt is not None
    assert (asked.jwt.issuer, asked.jwt.jwks_uri, asked.jwt.roles_claim) == ("https://idp.test", "https://idp.test/jwks", "roles")
    assert asked.rate_limit is not None
    assert (asked.rate_limit.per_second, asked.rate_limit.burst) == (5.0, 100)
