"""An upgrade's first minute and a rollback's last: definitions of one release under the operator of the one before."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kube.operator_world import Place, define
from kube.previous_operator import TOO_STRICT, next_definitions, previous, why_not
from recsys_dev import processes
from recsys_dev.errors import Unmet
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_dev.processes import Child, Command

ANSWER_S = 60.0
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


def test_a_clone_without_its_history_says_so(tmp_path: Path):
    with pytest.raises(Unmet, match="git fetch --unshallow"):
        previous(tmp_path / "none", "0" * 40)
