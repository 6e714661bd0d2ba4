"""A model names what is in its own namespace: no name of a Secret leads out of it, neither past admission nor by the path that is read."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from kube.operator_world import DEFINITIONS, SPEC, Place, define
from recsys_dev.kubernetes import Cluster
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Kube
from recsys_operator.world.objects import MODELS, folder, secret_path

OTHER = "team-books"
NAMES = [
    f"{OTHER}/ray-auth",
    f"../{OTHER}/ray-auth",
    f"../../namespaces/{OTHER}/secrets/ray-auth",
    f"..%2F..%2Fnamespaces%2F{OTHER}%2Fsecrets%2Fray-auth",
    f"%2e%2e/%2e%2e/namespaces/{OTHER}/secrets/ray-auth",
    f"ray-auth?namespace={OTHER}",
    f"ray-auth&namespace={OTHER}",
    f"ray-auth#/../{OTHER}",
    f"ray-auth;{OTHER}",
    f"{OTHER}:ray-auth",
    f"{OTHER}\\ray-auth",
    f"ray-auth.{OTHER}.svc/",
    f"/api/v1/namespaces/{OTHER}/secrets/ray-auth",
    f"//{OTHER}/ray-auth",
    f"ray-auth\n{OTHER}",
    f"ray-auth\r\nHost: {OTHER}",
    f"ray-auth\u2044{OTHER}",
    f"ray-auth\uff0f{OTHER}",
    f"ray-auth\u0000{OTHER}",
    "..",
    ".",
    "",
    " ray-auth",
    "ray-auth ",
    "Ray-Auth",
    "ray_auth",
    "*",
    "-ray-auth",
    "ray-auth-",
    "r" * 254,
    "${NAMESPACE}/ray-auth",
    "{{namespace}}/ray-auth",
    "ray-auth?watch=true",
    "ray-auth/status",
    "\u202eray-auth",
]
REFUSED_IN_ALL = 500


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture
def here(defined: Cluster, namespace: str, tmp_path: Path) -> Place:
    return Place(cluster=defined, namespace=namespace, storage=tmp_path)


def references(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Fields of the spec that name a Secret, by the CRD's own words."""
    for name, inner in schema.get("properties", {}).items():
        here = (*path, name)
        if name.endswith("SecretRef") and inner.get("type") == "string":
            yield here
        elif name.endswith("SecretRef"):
            yield (*here, "name")
        elif "items" in inner:
            yield from references(inner["items"], (*path, f"{name}[0]"))
        else:
            yield from references(inner, here)


def fields() -> list[tuple[str, ...]]:
    document = yaml.safe_load((DEFINITIONS / "recommendermodels.yaml").read_text())
    return list(references(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]))


def naming(path: tuple[str, ...], name: str) -> dict[str, Any]:
    """A spec that has this name in this field."""
    spec: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SPEC))
    at = spec
    for step in path[:-1]:
        among_many = step.removesuffix("[0]")
        at = at.setdefault(step, {}) if among_many == step else at.setdefault(among_many, [{"name": "first"}])[0]
    at[path[-1]] = name
    return spec


def test_names_that_lead_elsewhere_are_refused_where_they_are_applied(here: Place):
    tried = [(path, name) for path, name in product(fields(), NAMES)]
    # As many different names as it takes, for each field.
    tried += [(path, f"{name}{number}/x") for path in fields() for number, name in enumerate(NAMES * 3) if len(name) < 200]
    assert len(tried) >= REFUSED_IN_ALL

    async def all_of_them(kube: Kube) -> list[str]:
        taken: list[str] = []
        for path, name in tried:
            body = {
                "apiVersion": "recsys.dev/v1alpha1",
                "kind": "RecommenderModel",
                "metadata": {"name": "tried"},
                "spec": naming(path, name),
            }
            try:
                await kube.create(folder(MODELS, here.namespace), body)
            except RefusedError as error:
                where = f"spec.{'.'.join(path)}"
                # A name with a NUL or a control letter may be refused as the JSON that it is in.
                if where not in str(error) and "spec: " not in str(error):
                    taken.append(f"{where} = {name!r}: refused without its field: {error}")
            else:
                taken.append(f"{'.'.join(path)} = {name!r}: taken")
        return taken

    assert here.world(lambda world: all_of_them(world.kube)) == []


def test_a_name_that_is_right_is_taken(here: Place):
    """The test above can fail: the same requests with a plain name go through, up to what else a field asks."""

    async def one(kube: Kube) -> None:
        body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "metadata": {"name": "tried"}}
        spec = naming(("ray", "tokenSecretRef", "name"), "ray-auth")
        await kube.create(folder(MODELS, here.namespace), body | {"spec": spec})

    here.world(lambda world: one(world.kube))


@pytest.mark.parametrize("name", NAMES)
def test_the_path_that_is_read_never_leaves_the_namespace(name: str):
    prefix = "/api/v1/namespaces/team-films/secrets/"
    path = secret_path("team-films", name)
    assert path.startswith(prefix)
    rest = path.removeprefix(prefix)
    assert "/" not in rest
    assert "?" not in rest
    assert "#" not in rest
    assert unquote(rest) == name
