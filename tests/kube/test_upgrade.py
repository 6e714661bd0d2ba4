"""An upgrade's first minute and a rollback's last: definitions of one release under the operator of the one before."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kube.operator_world import Place, define
from kube.previous_operator import OLD, TOO_STRICT, next_definitions, older_definitions, previous, why_not
from recsys_dev import processes
from recsys_dev.errors import Unmet
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_dev.processes import Child, Command
from recsys_operator.world.definitions import Definitions
from recsys_operator.world.errors import WorldError
from recsys_operator.world.objects import MODELS
from recsys_operator.world.owned import write_status
from recsys_operator.world.world import World

ANSWER_S = 120.0
here_only = pytest.mark.skipif(bool(why_not()), reason=f"the operator's past is not here: {why_not()}")


def operate(place: Place, program: Sequence[str], name: str) -> Child:
    (port,) = free_ports(1)
    environment = {
        "KUBECONFIG": str(place.cluster.kubeconfig),
        "RECSYS_STORAGE_ROOT": f"file://{place.storage}",
        "RECSYS_WATCH_NAMESPACES": place.namespace,
        "RECSYS_LEASE_NAMESPACE": place.namespace,
        "RECSYS_HTTP_PORT": str(port),
    }
    return processes.start(place.cluster.run_dir, f"operator-{name}", Command(argv=[sys.executable, *program], env=environment))


def stalled(place: Place, model: str) -> dict[str, Any]:
    """Whether somebody must act, by the status of the present generation; empty while it says nothing of it."""
    body = place.get("rm", model)
    found = {each["type"]: each for each in body.get("status", {}).get("conditions", [])}
    return found["Stalled"] if found.get("Ready", {}).get("observedGeneration") == body["metadata"]["generation"] else {}


def answer(place: Place, program: Sequence[str], name: str) -> dict[str, Any]:
    """What an operator says of a suspended model of its name whose definitions are of the release to come."""
    define(place.cluster)
    place.model(name, suspend=True)
    place.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=next_definitions())
    # Topics by name: among the default ones are roles that the strict twin is too old to know.
    topics = [{"name": role.lower(), "role": role} for role in ("Watch", "Requests", "Responses")]
    spec = {"mood": "wild", "serving": {"mood": "wild"}, "kafka": {"topics": topics}}
    place.kubectl("patch", "rm", name, "--type=merge", "-p", json.dumps({"spec": spec}))
    child = operate(place, program, name)
    try:
        processes.wait_until(lambda: bool(stalled(place, name)), what="an answer", deadline_s=ANSWER_S, children=[child])
        return stalled(place, name)
    finally:
        processes.stop(child)
        define(place.cluster)


@here_only
def test_an_operator_goes_on_under_definitions_of_the_next_release(cluster: Cluster, namespace: str, tmp_path: Path):
    place = Place(cluster=cluster, namespace=namespace, storage=tmp_path)
    # Nothing listens where the model's Ray should be: that is told, and nothing of what is not known.
    for name, program in (("previous", previous(tmp_path / "previous").program), ("present", ("-m", "recsys_operator"))):
        said = answer(place, program, name)
        assert said["reason"] == "ActionNeeded", said
        assert "mood" not in said["message"]


@here_only
def test_an_operator_that_refuses_what_it_does_not_know_is_caught(cluster: Cluster, namespace: str, tmp_path: Path):
    place = Place(cluster=cluster, namespace=namespace, storage=tmp_path)
    said = answer(place, previous(tmp_path / "strict", TOO_STRICT).program, "strict")
    assert (said["status"], said["reason"]) == ("True", "InvalidSpec")
    assert "Extra inputs are not permitted" in said["message"]


@pytest.fixture
def older(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Place]:
    """A suspended model under the definitions of a release before."""
    place = Place(cluster=cluster, namespace=namespace, storage=tmp_path)
    define(cluster)
    place.model(suspend=True)
    try:
        place.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=older_definitions())
        yield place
    finally:
        define(cluster)


def told(place: Place) -> dict[str, Any]:
    """What is said of the definitions; empty while nothing is."""
    conditions = place.get("rm", "movies").get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "DefinitionsCurrent"), {})


def test_an_operator_whose_definitions_were_left_behind_says_what_they_lack_and_tells_the_rest(older: Place):
    child = operate(older, ("-m", "recsys_operator"), "ahead")
    try:
        processes.wait_until(lambda: bool(told(older)), what="a word on the definitions", deadline_s=ANSWER_S, children=[child])
        said, status = told(older), older.get("rm", "movies")["status"]
        assert (said["status"], said["reason"]) == ("False", "DefinitionsTooOld")
        for words in ("recommendermodels.recsys.dev", *(f"{part}.{name}" for part, name in OLD.items()), "kubectl apply --server-side"):
            assert words in said["message"]
        assert OLD["status"] not in status
        assert {"Ready", "TopicsReady", "Serving"} <= {each["type"] for each in status["conditions"]}
        assert stalled(older, "movies")["status"] == "True"

        define(older.cluster)
        processes.wait_until(lambda: not told(older), what="the end of it", deadline_s=ANSWER_S, children=[child])
        assert OLD["status"] in older.get("rm", "movies")["status"]
    finally:
        processes.stop(child)


def test_without_that_the_whole_status_would_be_refused(older: Place):
    model = older.read()
    status: dict[str, Any] = {"phase": "Suspended", "history": [], "conditions": []}

    async def written(world: World, *, look: bool) -> bool:
        definitions = Definitions()
        if look:
            await definitions.look(world.kube)
        return await write_status(world.kube, MODELS, model.key, status=definitions.fitted(MODELS, status), uid=model.uid)

    def fits() -> bool:
        try:
            return older.world(lambda world: written(world, look=True))
        except WorldError:
            return False

    # What an API server applies by follows the definition a moment later, and so does what it publishes.
    def refused() -> str:
        try:
            older.world(lambda world: written(world, look=False))
        except WorldError as error:
            return str(error)
        return ""

    processes.wait_until(lambda: "history" in refused(), what="the older definition in use", deadline_s=ANSWER_S)
    processes.wait_until(fits, what="the older definition published", deadline_s=ANSWER_S)


def test_a_clone_without_its_history_says_so(tmp_path: Path):
    with pytest.raises(Unmet, match="git fetch --unshallow"):
        previous(tmp_path / "none", "0" * 40)
