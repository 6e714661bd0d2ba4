"""The rights that the chart gives are those that the operator uses: by the audit log of all that the files before this one did."""

import pytest
import yaml

from recsys_dev.line import CHART, RELEASE, SYSTEM, Line

USED_ELSEWHERE = {
    ("update", "recommendermodels/finalizers"): "asked by admission alone, where owner references are guarded; never sent",
    ("delete", "recommendermodelversions"): "pruning beyond revisionHistoryLimit: tests/kube/test_operator_world.py",
    ("delete", "recommenderrollouts"): "pruning beyond revisionHistoryLimit: tests/kube/test_operator_world.py",
}
"""What these files need not have used, and why it is given all the same."""

Right = tuple[str, str]


@pytest.fixture(scope="module")
def given(line: Line) -> set[Right]:
    """Verbs and resources of the roles that the chart binds to the operator."""
    return rights(line.cluster.helm("get", "manifest", RELEASE, "--namespace", SYSTEM))


def rights(manifest: str) -> set[Right]:
    """Verbs and resources of the roles that are bound to the operator's ServiceAccount."""
    documents = [document for document in yaml.safe_load_all(manifest) if document]
    bindings = [each for each in documents if each["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    names = {each["roleRef"]["name"] for each in bindings if any(subject.get("name") == RELEASE for subject in each.get("subjects", []))}
    roles = [each for each in documents if each["kind"] in ("Role", "ClusterRole") and each["metadata"]["name"] in names]
    assert roles
    return {(verb, resource) for role in roles for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}


@pytest.fixture(scope="module")
def for_kuberay(line: Line, given: set[Right]) -> set[Right]:
    """Those that are given only where KubeRay keeps the clusters: tests/kube/test_kuberay.py uses them."""
    return given - rights(
        line.cluster.helm("template", RELEASE, str(CHART), "--namespace", SYSTEM, "--kube-version=1.36.3", "--set=kuberay.enabled=false")
    )


@pytest.fixture(scope="module")
def asked(line: Line) -> dict[Right, set[int]]:
    """What the operator has asked for, with the answers that it got."""
    found: dict[Right, set[int]] = {}
    for event in line.cluster.audited():
        about = event.get("objectRef")
        if event["user"]["username"] == f"system:serviceaccount:{SYSTEM}:{RELEASE}" and about is not None and "resource" in about:
            resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
            found.setdefault((event["verb"], resource), set()).add(event.get("responseStatus", {}).get("code", 0))
    assert found, "the operator has asked for nothing"
    return found


def test_no_right_is_given_that_is_not_used(given: set[Right], for_kuberay: set[Right], asked: dict[Right, set[int]]):
    assert given - asked.keys() - for_kuberay <= USED_ELSEWHERE.keys()


def test_nothing_was_asked_for_that_is_not_given(given: set[Right], asked: dict[Right, set[int]]):
    assert asked.keys() <= given
    assert [right for right, codes in asked.items() if 403 in codes] == []


def test_no_right_is_a_wildcard_and_secrets_are_never_listed(given: set[Right]):
    assert not [right for right in given if "*" in right]
    assert not {verb for verb, resource in given if resource == "secrets"} & {"list", "watch", "update", "patch", "delete"}
