"""Definitions over releases, on a real API server: objects of every release stay readable, and the next version stores them anew."""

import base64
import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from kube.operator_world import DEFINITIONS, SPEC
from recsys_dev import processes
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_operator.world.objects import read_model
from recsys_schemas.kinds import KINDS

RELEASED = Path(__file__).resolve().parents[2] / "schemas" / "released"
RELEASES = sorted(path.parent.name for path in RELEASED.glob("*/definitions"))
GROUP = "upgraded.recsys.dev"
"""Ours under another group: the other tests of this API server have their own."""
MODELS = f"recommendermodels.{GROUP}"
PRESENT, NEXT = "v1alpha1", "v1beta1"
MARK = "writtenAs"
"""A field whose default tells by which definition an object was judged."""
MARKS = count(1)

Json = dict[str, Any]


def definition(path: Path) -> Json:
    """A definition of ours under the other group."""
    document: Json = yaml.safe_load(path.read_text())
    document["metadata"]["name"] = f"{document['spec']['names']['plural']}.{GROUP}"
    document["spec"]["group"] = GROUP
    document["spec"]["names"] |= {"shortNames": [f"up{name}" for name in document["spec"]["names"]["shortNames"]], "categories": []}
    return document


def install(cluster: Cluster, documents: list[Json]) -> None:
    """Write definitions; return when the API server judges by the models' one, which is a moment after it has taken it."""
    mark = str(next(MARKS))
    for document in documents:
        for version in document["spec"]["versions"] if document["metadata"]["name"] == MODELS else ():
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][MARK] = {"type": "string", "default": mark}
    text = yaml.safe_dump_all(documents)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
    cluster.kubectl("wait", "--for=condition=Established", "-f", "-", "--timeout=60s", input=text)
    served, *_ = [each["name"] for each in documents[0]["spec"]["versions"]]
    smallest = {
        "apiVersion": f"{GROUP}/{served}",
        "kind": "RecommenderModel",
        "metadata": {"name": "tried"},
        "spec": SPEC | {"owner": "us"},
    }

    def judged_by() -> str:
        try:
            return json.loads(tried(cluster, "default", smallest))["spec"].get(MARK, "")
        except CommandFailedError as error:
            return mark if "spec." in error.stderr else ""

    processes.wait_until(lambda: judged_by() == mark, what="the new definition in use", deadline_s=60)


def tried(cluster: Cluster, namespace: str, body: Json) -> str:
    """Have the API server judge an object as a new one: of one that is there it would let pass what has not changed."""
    return cluster.kubectl("create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-", input=json.dumps(body))


def present() -> list[Json]:
    return [definition(path) for path in sorted(DEFINITIONS.glob("*.yaml"))]


def released(release: str) -> list[Json]:
    return [definition(path) for path in sorted((RELEASED / release / "definitions").glob("*.yaml"))]


def objects(release: str) -> list[Json]:
    """What a user of that release has applied."""
    found: list[Json] = []
    for path in sorted((RELEASED / release / "objects").glob("*.yaml")):
        for number, each in enumerate(yaml.safe_load_all(path.read_text())):
            if each and each["kind"] == "RecommenderModel":
                found.append(each | {"apiVersion": f"{GROUP}/{PRESENT}", "metadata": {"name": f"{path.stem}-{number}"}})
    return found


@pytest.fixture(scope="module", autouse=True)
def gone(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.kubectl("delete", "crd", *(f"{kind.plural}.{GROUP}" for kind in KINDS), "--ignore-not-found")


def stored(cluster: Cluster, namespace: str, version: str = PRESENT) -> dict[str, Json]:
    text = cluster.kubectl("get", f"recommendermodels.{version}.{GROUP}", "-n", namespace, "-o", "json")
    found = {each["metadata"]["name"]: each for each in json.loads(text)["items"]}
    for each in found.values():
        each["spec"].pop(MARK, None)
    return found


def anew(body: Json) -> Json:
    """The same object as if it were made now."""
    return {key: body[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "again"}}


def is_within(old: object, new: object) -> bool:
    """Whether all that was there is there, whatever defaults have come to it."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and is_within(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_within, old, new))
    return old == new


@pytest.mark.parametrize("release", RELEASES)
def test_objects_of_a_release_are_kept_read_and_written_under_the_present_definitions_and_after_a_way_back(
    cluster: Cluster, namespace: str, release: str
):
    install(cluster, released(release))
    for each in objects(release):
        cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=json.dumps(each))
    before = stored(cluster, namespace)
    assert len(before) > 5

    install(cluster, present())
    after = stored(cluster, namespace)
    for name, old in before.items():
        assert is_within(old["spec"], after[name]["spec"]), name
        assert read_model(after[name], "file:///x").key.name == name
        tried(cluster, namespace, anew(after[name]))
        cluster.kubectl("replace", "-n", namespace, "-f", "-", input=json.dumps(after[name]))
    for each in objects(release):
        cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=json.dumps(each))

    install(cluster, released(release))
    back = stored(cluster, namespace)
    for name, old in before.items():
        assert is_within(old["spec"], back[name]["spec"]), name
        cluster.kubectl("replace", "-n", namespace, "-f", "-", input=json.dumps(back[name]))


def required(document: Json) -> None:
    spec = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["owner"] = {"type": "string"}
    spec["required"] = [*spec["required"], "owner"]


def narrowed(document: Json) -> None:
    spec = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["model"]["properties"]["algorithm"]["enum"] = ["ALS"]


@pytest.mark.parametrize("fault", [required, narrowed])
def test_a_definition_that_may_not_follow_is_caught_by_the_objects_that_it_no_longer_takes(
    cluster: Cluster, namespace: str, fault: Callable[[Json], None]
):
    install(cluster, released(RELEASES[-1]))
    for each in objects(RELEASES[-1]):
        cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=json.dumps(each))
    broken = [each for each in present() if each["metadata"]["name"] == MODELS]
    fault(broken[0])
    install(cluster, broken)
    with pytest.raises(CommandFailedError, match=r"spec\.(owner|model\.algorithm)"):
        for body in stored(cluster, namespace).values():
            tried(cluster, namespace, anew(body))


def with_next(*, stores: str, serves: tuple[str, ...] = (PRESENT, NEXT)) -> Json:
    """The models' definition with the version that is to come: the same schema, so that no webhook has to be up for anyone to read."""
    (document,) = [each for each in present() if each["metadata"]["name"] == MODELS]
    (version,) = document["spec"]["versions"]
    document["spec"]["versions"] = [version | {"name": name, "served": True, "storage": name == stores} for name in serves]
    document["spec"]["conversion"] = {"strategy": "None"}
    return document


def in_etcd(cluster: Cluster, namespace: str, name: str) -> str:
    """The version that an object's bytes in etcd are of."""
    (child,) = [child for child in cluster.children if child.name == "etcd"]
    words = Path(f"/proc/{child.pid}/cmdline").read_text().split("\0")
    (url,) = [word.partition("=")[2] for word in words if word.startswith("--listen-client-urls=")]
    key = f"/registry/{GROUP}/recommendermodels/{namespace}/{name}"
    asked = {"key": base64.b64encode(key.encode()).decode()}
    (found,) = httpx.post(f"{url}/v3/kv/range", json=asked, trust_env=False, timeout=10).raise_for_status().json()["kvs"]
    return json.loads(base64.b64decode(found["value"]))["apiVersion"].partition("/")[2]


def stored_versions(cluster: Cluster) -> list[str]:
    return json.loads(cluster.kubectl("get", "crd", MODELS, "-o", "json"))["status"]["storedVersions"]


def test_the_next_version_reads_what_this_one_wrote_and_takes_its_place_in_etcd(cluster: Cluster, namespace: str):
    install(cluster, present())
    for each in objects(RELEASES[-1]):
        cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=json.dumps(each))
    before = stored(cluster, namespace)
    name = next(iter(before))

    # One release serves both and stores the old one: clients of both see the same, whoever wrote it.
    install(cluster, [with_next(stores=PRESENT)])
    newer = stored(cluster, namespace, NEXT)
    assert {each["apiVersion"] for each in newer.values()} == {f"{GROUP}/{NEXT}"}
    assert {key: each["spec"] for key, each in newer.items()} == {key: each["spec"] for key, each in before.items()}
    cluster.kubectl("patch", f"recommendermodels.{NEXT}.{GROUP}", name, "-n", namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    assert stored(cluster, namespace)[name]["spec"] == before[name]["spec"] | {"suspend": True}
    assert in_etcd(cluster, namespace, name) == PRESENT

    # The next one stores the new one; what nobody touches stays as it was written, so the old one cannot go yet.
    install(cluster, [with_next(stores=NEXT)])
    assert stored_versions(cluster) == [PRESENT, NEXT]
    assert in_etcd(cluster, namespace, name) == PRESENT
    with pytest.raises(CommandFailedError, match=r"must remain in spec\.versions until a storage migration"):
        install(cluster, [with_next(stores=NEXT, serves=(NEXT,))])

    # docs/guides/upgrades.md: every object written once as it is.
    everything = cluster.kubectl("get", f"recommendermodels.{NEXT}.{GROUP}", "-A", "-o", "json")
    cluster.kubectl("replace", "-f", "-", input=everything)
    assert {in_etcd(cluster, namespace, each) for each in before} == {NEXT}
    cluster.kubectl(
        "patch", "crd", MODELS, "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"storedVersions": [NEXT]}})
    )
    install(cluster, [with_next(stores=NEXT, serves=(NEXT,))])
    last = stored(cluster, namespace, NEXT)
    assert {key: each["spec"] for key, each in last.items()} == {
        key: each["spec"] | ({"suspend": True} if key == name else {}) for key, each in before.items()
    }
