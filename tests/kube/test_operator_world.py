"""What the operator does to a real API server: each action once, twice, and against what others have put there."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kube.operator_world import NOW, Place, define
from recsys_dev import processes
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_operator.plan.names import token_secret
from recsys_operator.state.actions import (
    Action,
    AddFinalizer,
    CreateRollout,
    CreateVersion,
    DeleteVersion,
    EnsureTokens,
    PublishEvent,
    RemoveFinalizer,
    WriteRolloutStatus,
    WriteVersionStatus,
)
from recsys_operator.state.observed import Observed, Unavailable
from recsys_operator.world.apply import apply
from recsys_operator.world.connection import read_connection
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import ConflictError, Json, Kube
from recsys_operator.world.objects import MODELS, Unreadable, dump, place, status_body
from recsys_operator.world.owned import set_finalizer, write_status
from recsys_operator.world.tokens import api_secret
from recsys_operator.world.world import World
from recsys_schemas.serving_record import Role
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import Artifact, Cause, ModelReference, SnapshotReference, VersionPhase, VersionSpec, VersionStatus


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture
def here(defined: Cluster, namespace: str, tmp_path: Path) -> Place:
    return Place(cluster=defined, namespace=namespace, storage=tmp_path / "storage")


def version(seen: Observed, name: str) -> CreateVersion:
    spec = VersionSpec(
        model_ref=ModelReference(name=seen.model.key.name, uid=seen.model.uid),
        cause=Cause(trigger="Initial", detail="1000 rows"),
        snapshot=SnapshotReference(sequence=3, rows=1000),
        storage_uri=seen.model.storage_uri,
        algorithm="ALS",
        seed=42,
    )
    return CreateVersion(name=name, spec=spec)


def rollout(seen: Observed, name: str) -> CreateRollout:
    spec = RolloutSpec(
        model_ref=ModelReference(name=seen.model.key.name, uid=seen.model.uid),
        candidate=Pinned(name=name, digest="sha256:02"),
        steps=[Step(set_weight=5)],
        analysis=Analysis(),
    )
    return CreateRollout(name=name, spec=spec)


def do(here: Place, seen: Observed, *actions: Action) -> None:
    async def all_of_them(world: World) -> None:
        for action in actions:
            await apply(world, seen, action)

    here.world(all_of_them)


def refusal(here: Place, use: Callable[[World], Awaitable[Any]]) -> str:
    with pytest.raises(RefusedError) as refused:
        here.world(use)
    return str(refused.value)


def test_a_model_that_is_gone_is_nothing_to_decide_on(here: Place) -> None:
    assert here.observe() is None


def test_names_that_are_derived_twice_agree(here: Place) -> None:
    model = here.model()
    assert api_secret(model) == token_secret(model)
    assert model.dead_letter_topic == f"{here.namespace}.movies.dead-letters"


def test_a_version_made_twice_is_one_and_belongs_to_its_model(here: Place) -> None:
    here.model()
    seen = here.observed()
    do(here, seen, version(seen, "movies-000001"), version(seen, "movies-000001"))
    found = here.observed().versions
    assert [each.name for each in found] == ["movies-000001"]
    assert found[0].spec == version(seen, "movies-000001").spec
    owner = here.get("rmv", "movies-000001")["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (seen.model.uid, True, True)


def test_a_name_that_another_owner_has_taken_is_refused_in_words(here: Place) -> None:
    here.model()
    here.model("films")
    films, movies = here.observed("films"), here.observed()
    do(here, films, version(films, "movies-000001"))
    words = refusal(here, lambda world: apply(world, movies, version(movies, "movies-000001")))
    assert "recommendermodelversions/movies-000001" in words
    assert films.model.uid in words
    assert here.observed().versions == ()


def test_what_an_earlier_model_of_the_same_name_left_is_waited_out(here: Place) -> None:
    here.model()
    seen = here.observed()
    do(here, seen, version(seen, "movies-000001"))
    again = replace(seen, model=replace(seen.model, uid="another"))
    with pytest.raises(UnavailableError, match="earlier model"):
        here.world(lambda world: apply(world, again, version(again, "movies-000001")))


def test_a_status_written_twice_makes_no_new_resource_version(here: Place) -> None:
    model = here.model()
    status = dump(model.status.model_copy(update={"phase": "Serving", "observed_generation": 1}))

    async def write(world: World) -> bool:
        return await write_status(world.kube, MODELS, model.key, status=status, uid=model.uid)

    assert here.world(write)
    first = here.get("rm", "movies")["metadata"]["resourceVersion"]
    assert here.world(write)
    assert here.get("rm", "movies")["metadata"]["resourceVersion"] == first


def test_a_status_takes_its_fields_back_from_whoever_wrote_them(here: Place) -> None:
    model = here.model()
    here.kubectl("patch", "rm", "movies", "--subresource=status", "--type=merge", "-p", '{"status": {"phase": "Mine"}}')
    status = dump(model.status.model_copy(update={"phase": "Serving"}))
    here.world(lambda world: write_status(world.kube, MODELS, model.key, status=status, uid=model.uid))
    assert here.get("rm", "movies")["status"]["phase"] == "Serving"


def test_a_status_never_lands_on_a_new_model_of_the_same_name(here: Place) -> None:
    model = here.model()
    here.kubectl("delete", "rm", "movies")
    here.model()
    assert here.world(lambda world: write_status(world.kube, MODELS, model.key, status={"phase": "Old"}, uid=model.uid)) is False
    assert "status" not in here.get("rm", "movies")


def test_a_status_made_from_an_older_state_is_refused(here: Place) -> None:
    model = here.model()
    old = here.get("rm", "movies")["metadata"]["resourceVersion"]
    here.kubectl("label", "rm", "movies", "touched=yes")
    body = status_body(MODELS, model.key, status={"phase": "Old"}, resource_version=old)
    with pytest.raises(ConflictError):
        here.world(lambda world: world.kube.apply(f"{place(MODELS, here.namespace, 'movies')}/status", body))


@dataclass(frozen=True, kw_only=True)
class CountingKube(Kube):
    """Remembers what is read."""

    read: list[str] = field(default_factory=list[str])

    async def get(self, path: str) -> Json | None:
        self.read.append(path)
        return await super().get(path)


def test_what_a_pass_has_read_is_read_again_only_where_another_has_changed_it_since(here: Place) -> None:
    model = here.model()

    async def hold_and_tell(world: World, phase: str) -> int:
        kube = CountingKube(host=world.kube.host, http=world.kube.http, token=world.kube.token)
        stands = await set_finalizer(kube, model, present=True)
        status = {"phase": phase, "observedGeneration": 1}
        assert await write_status(kube, MODELS, model.key, status=status, uid=model.uid, seen=stands)
        written = here.get("rm", "movies")
        assert (written["metadata"]["finalizers"], written["status"]["phase"]) == (["recsys.dev/finalizer"], phase)
        return len(kube.read)

    assert here.world(lambda world: hold_and_tell(world, "Pending")) == 0
    here.kubectl("patch", "rm", "movies", "--type=merge", "-p", '{"metadata": {"finalizers": null, "labels": {"touched": "yes"}}}')
    assert here.world(lambda world: hold_and_tell(world, "Ingesting")) == 1, "once, for the finalizer; the status rests on its answer"
    here.kubectl("patch", "rm", "movies", "--type=merge", "-p", '{"metadata": {"finalizers": []}}')


def test_a_status_that_rests_on_what_another_has_changed_since_is_written_on_what_stands_now(here: Place) -> None:
    model = here.model()
    here.kubectl("label", "rm", "movies", "touched=yes")
    told = {"phase": "Pending", "observedGeneration": 1}
    assert here.world(lambda world: write_status(world.kube, MODELS, model.key, status=told, uid=model.uid, seen=model.standing))
    now = here.get("rm", "movies")
    assert (now["status"]["phase"], now["metadata"]["labels"]["touched"]) == ("Pending", "yes")
    here.kubectl("delete", "rm", "movies")
    here.model()
    later = {"phase": "Old"}
    assert not here.world(lambda world: write_status(world.kube, MODELS, model.key, status=later, uid=model.uid, seen=model.standing))
    assert "status" not in here.get("rm", "movies"), "a new model of the name is not told what is the old one's"


def test_the_status_of_a_model_that_is_gone_is_written_nowhere(here: Place) -> None:
    model = here.model()
    here.kubectl("delete", "rm", "movies")
    assert here.world(lambda world: write_status(world.kube, MODELS, model.key, status={}, uid=model.uid)) is False


def test_finalizers_of_others_stay(here: Place) -> None:
    model = here.model()
    here.kubectl("patch", "rm", "movies", "--type=merge", "-p", '{"metadata": {"finalizers": ["example.com/other"]}}')

    def names() -> list[str]:
        return here.get("rm", "movies")["metadata"]["finalizers"]

    seen = here.observed()
    do(here, seen, AddFinalizer(), AddFinalizer())
    assert names() == ["example.com/other", "recsys.dev/finalizer"]
    assert here.observed().model.has_finalizer
    do(here, seen, RemoveFinalizer(), RemoveFinalizer())
    assert names() == ["example.com/other"]
    other = replace(model, uid="another")
    with pytest.raises(UnavailableError, match="has been deleted; nothing is begun for it"):
        do(here, replace(seen, model=other), AddFinalizer())
    here.world(lambda world: set_finalizer(world.kube, other, present=True))
    assert names() == ["example.com/other"]
    here.kubectl("patch", "rm", "movies", "--type=merge", "-p", '{"metadata": {"finalizers": []}}')


def test_statuses_of_versions_and_rollouts_come_back_as_they_were_written(here: Place) -> None:
    here.model()
    seen = here.observed()
    done = VersionStatus(phase=VersionPhase.CANDIDATE, attempt=1, started_at=NOW, artifact=Artifact(digest="sha256:02", size_bytes=5))
    walk = RolloutStatus(phase=RolloutPhase.PROGRESSING, weight=5, started_at=NOW)
    do(here, seen, version(seen, "movies-000001"), rollout(seen, "movies-000001"))
    do(here, here.observed(), WriteVersionStatus(name="movies-000001", status=done))
    do(here, here.observed(), WriteRolloutStatus(name="movies-000001", status=walk))
    now = here.observed()
    assert (now.versions[0].status, now.rollouts[0].status) == (done, walk)


def test_a_person_who_aborts_loses_nothing_to_the_status_that_is_written_meanwhile(here: Place) -> None:
    here.model()
    seen = here.observed()
    do(here, seen, rollout(seen, "movies-000001"))
    here.kubectl("patch", "rro", "movies-000001", "--type=merge", "-p", '{"spec": {"control": {"abort": true}}}')
    do(here, seen, WriteRolloutStatus(name="movies-000001", status=RolloutStatus(weight=5)))
    assert here.observed().rollouts[0].spec.control.abort


def test_deleting_a_version_takes_its_rollout_and_no_other(here: Place) -> None:
    here.model()
    seen = here.observed()
    names = ("movies-000001", "movies-000002")
    do(here, seen, *(make(seen, name) for name in names for make in (version, rollout)))
    do(here, here.observed(), DeleteVersion(name=names[0]), DeleteVersion(name=names[0]))
    now = here.observed()
    assert [each.name for each in (*now.versions, *now.rollouts)] == [names[1], names[1]]


def test_tokens_are_made_once_and_never_changed(here: Place) -> None:
    here.model()
    seen = here.observed()
    assert seen.tokens == {}
    do(here, seen, EnsureTokens(secret="movies-api"))
    first = here.observed().tokens
    assert not isinstance(first, Unavailable)
    assert sorted(first.values()) == [Role.OPERATOR, Role.WRITER]
    data = {key: base64.b64decode(value) for key, value in here.get("secret", "movies-api")["data"].items()}
    assert first == {
        hashlib.sha256(data["token"]).hexdigest(): Role.WRITER,
        hashlib.sha256(data["operator-token"]).hexdigest(): Role.OPERATOR,
    }
    assert min(len(base64.urlsafe_b64decode(token + b"=")) for token in data.values()) == 32
    do(here, seen, EnsureTokens(secret="movies-api"))
    assert here.observed().tokens == first


def test_a_token_of_the_users_own_is_the_writers_and_ours_reads_evidence(here: Place) -> None:
    here.model(serving={"tokenSecretRef": {"name": "mine", "key": "api"}})
    do(here, here.observed(), EnsureTokens(secret="movies-api"))
    missing = here.observed().tokens
    assert isinstance(missing, Unavailable)
    assert missing.refused
    assert "spec.serving.tokenSecretRef: Secret" in missing.message
    here.secret("mine", api="letmein")
    found = here.observed().tokens
    assert not isinstance(found, Unavailable)
    assert found[hashlib.sha256(b"letmein").hexdigest()] is Role.WRITER
    assert sorted(found.values()) == [Role.OPERATOR, Role.WRITER]


def test_tokens_in_a_secret_that_is_not_ours_are_not_trusted(here: Place) -> None:
    here.model()
    here.secret("movies-api", token="known", **{"operator-token": "known"})
    seen = here.observed()
    assert isinstance(seen.tokens, Unavailable)
    assert "not owned by this model" in seen.tokens.message
    assert "the name is taken" in refusal(here, lambda world: apply(world, seen, EnsureTokens(secret="movies-api")))


def test_an_event_said_twice_is_one_event_on_the_model(here: Place) -> None:
    here.model()
    seen = here.observed()
    words = PublishEvent(reason="Promoted", message="movies-000001 serves all users", severity="Normal")
    do(here, seen, words, words)
    found = json.loads(here.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    assert [(each["reason"], each["note"], each["regarding"]["uid"]) for each in found] == [
        ("Promoted", words.message, seen.model.uid),
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, ("spec.ray.tokenSecretRef: Secret", "/ray-auth not found; create it: kubectl create secret generic ray-auth")),
        ({"other": "x"}, ("spec.ray.tokenSecretRef: Secret", "key 'token' is missing (it has: other)")),
        (
            {"token": "x"},
            ("spec.ray.dashboardURL: no Ray dashboard answers at http://127.0.0.1:1", "correct the address"),
        ),
    ],
    ids=["no Secret", "no key", "no dashboard"],
)
def test_a_ray_cluster_that_cannot_be_read_says_why(here: Place, data: dict[str, str] | None, says: tuple[str, ...]) -> None:
    here.model()
    if data is not None:
        here.secret("ray-auth", **data)
    seen = here.observed().ray
    assert isinstance(seen, Unavailable)
    assert all(words in seen.message for words in says), seen.message
    assert seen.refused is (data != {"token": "x"})


def test_brokers_that_do_not_answer_are_named_with_what_each_said(here: Place) -> None:
    here.model()
    seen = here.observed().topics
    assert isinstance(seen, Unavailable)
    assert "spec.kafka.bootstrapServers: no broker answers at 127.0.0.1:1 (" in seen.message
    assert "127.0.0.1:1: Connection refused" in seen.message
    assert not seen.refused


def test_a_store_that_is_not_there_yet_holds_nothing_yet(here: Place) -> None:
    here.model()
    seen = here.observed()
    assert (seen.manifest, seen.registered) == (None, ())


def test_a_model_whose_spec_fits_no_schema_known_here_says_which_field(here: Place) -> None:
    here.model()
    here.kubectl("patch", "crd", "recommendermodels.recsys.dev", "--type=json", "-p", _OPEN)
    try:

        def taken() -> bool:
            """The API server judges by a changed definition a moment later."""
            try:
                here.kubectl("patch", "rm", "movies", "--type=merge", "-p", '{"spec": {"model": {"algorithm": "Oracle"}}}')
            except CommandFailedError:
                return False
            return True

        processes.wait_until(taken, what="the open definition in use", deadline_s=60)
    finally:
        define(here.cluster)
    seen = here.observe()
    assert isinstance(seen, Unreadable)
    assert "RecommenderModel movies: spec.model.algorithm" in seen.message
    assert "'Oracle'" in seen.message


_ALGORITHM = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/model/properties/algorithm/enum"
_OPEN = json.dumps([{"op": "remove", "path": _ALGORITHM}])


SECURITY = {
    "bootstrapServers": ["127.0.0.1:1"],
    "security": {
        "protocol": "SASL_SSL",
        "mechanism": "SCRAM-SHA-512",
        "credentialsSecretRef": {"name": "kafka"},
        "caSecretRef": {"name": "kafka-ca"},
    },
}
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def test_the_brokers_secrets_are_read_anew_and_what_is_wrong_with_them_is_told_without_them(here: Place) -> None:
    model = here.model(kafka=SECURITY)

    def told() -> str:
        with pytest.raises(RefusedError) as error:
            here.world(lambda world: read_connection(world.kube, model))
        assert "hunter" not in str(error.value)
        return str(error.value)

    here.secret("kafka", username="ann", pass_word="hunter2")
    assert told().startswith(f"spec.kafka.security.credentialsSecretRef: Secret {here.namespace}/kafka: key 'password' is missing")
    here.kubectl("delete", "secret", "kafka")
    here.secret("kafka", username="ann", password="hunter2")
    assert told().startswith(f"spec.kafka.security.caSecretRef: Secret {here.namespace}/kafka-ca not found")
    topics = here.observed().topics
    assert isinstance(topics, Unavailable)
    assert topics.refused
    here.secret("kafka-ca", **{"ca.crt": AUTHORITY})
    first = here.world(lambda world: read_connection(world.kube, model))
    assert first.settings()["sasl.password"] == "hunter2"
    here.kubectl("patch", "secret", "kafka", "--type=merge", "-p", json.dumps({"stringData": {"password": "hunter3"}}))
    second = here.world(lambda world: read_connection(world.kube, model))
    assert second.settings()["sasl.password"] == "hunter3"
    assert second.identity != first.identity
