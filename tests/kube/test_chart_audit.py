"""The chart as each kind of user renders it: a real API server takes it whole, kubeconform finds it as the kinds are, and kube-score
and checkov fail nothing without a reason.
"""

import fnmatch
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from recsys_dev import apart, cache, kind_schemas
from recsys_dev.go_source import source
from recsys_dev.kubernetes import Cluster, CommandFailedError

CHART = Path(__file__).resolve().parents[2] / "charts" / "recsys-operator"
PROFILES = sorted(CHART.glob("ci/*-values.yaml"))
RELEASE, NAMESPACE = "trial", "recsys-audit"
OPTIONAL = "container-seccomp-profile,container-ports-check"
CHECKOV = "3.3.30"
HELD = 10
"""kube-score's grade of a check that holds."""


@dataclass(frozen=True, order=True, kw_only=True)
class Finding:
    """What kube-score or checkov says against an object."""

    check: str
    about: str
    says: str


@pytest.fixture(scope="module")
def judge() -> Path:
    return cache.ensure([cache.KUBE_SCORE], print) / "kube-score"


@pytest.fixture(scope="module")
def known(cluster: Cluster) -> Iterator[Cluster]:
    """An API server that knows all kinds of the chart and its namespaces, and warns of pods that `restricted` would refuse."""
    folder = source("github.com/prometheus-operator/prometheus-operator", "v0.93.0", "prometheus-operator") / "example"
    kinds = ("servicemonitors", "podmonitors", "prometheusrules")
    files = [word for kind in kinds for word in ("-f", str(folder / "prometheus-operator-crd" / f"monitoring.coreos.com_{kind}.yaml"))]
    cluster.kubectl("apply", "--server-side", *files)
    cluster.kubectl("wait", "--for=condition=Established", *files, "--timeout=60s")
    for name in (NAMESPACE, "team-films", "team-books"):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        cluster.kubectl("apply", "-f", "-", input=json.dumps(namespace))
    cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/warn=restricted")
    # A trial run makes nothing, and a bare pod is refused without its account.
    cluster.kubectl("create", "serviceaccount", f"{RELEASE}-recsys-operator-smoke", "-n", NAMESPACE)
    yield cluster
    # Other tests of this API server know no such kinds. Nobody needs their end: on a busy machine it once took more than two minutes.
    cluster.kubectl("delete", "--wait=false", *files)


def rendered(cluster: Cluster, values: Path, chart: Path = CHART) -> str:
    return cluster.helm("template", RELEASE, str(chart), "-n", NAMESPACE, "--kube-version", "1.36.3", "--values", str(values))


def admit(cluster: Cluster, manifests: str) -> None:
    """Have the API server take everything and keep nothing: unknown fields, old versions and weak pods are errors."""
    told = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *told, "-f", "-", input=manifests)


def findings(judge: Path, manifests: str) -> set[Finding]:
    argv = [judge, "score", "--kubernetes-version", "v1.36", "--enable-optional-test", OPTIONAL, "-o", "json", "-"]
    done = subprocess.run(argv, input=manifests, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode in (0, 1), done.stderr
    return {
        Finding(check=each["check"]["id"], about=f"{judged['type_meta']['kind']}/{judged['object_meta']['name']}", says=comment["summary"])
        for judged in json.loads(done.stdout)
        for each in judged["checks"]
        if not each["skipped"] and each["grade"] < HELD
        for comment in each["comments"]
    }


@pytest.fixture(scope="module")
def other_judge() -> Path:
    return apart.ensure("checkov", CHECKOV, print)


def other_findings(judge: Path, folder: Path, *charts: str) -> set[Finding]:
    """What checkov says of rendered charts; it asks nobody outside for more checks."""
    files = [folder / f"chart-{number}.yaml" for number in range(len(charts))]
    for file, manifests in zip(files, charts, strict=True):
        file.write_text(manifests)
    told = ("--framework", "kubernetes", "--skip-download", "--compact", "--quiet", "--output", "json", "--file", *map(str, files))
    argv = [judge, "-m", "checkov.main", *told]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 100, report["summary"]
    return {
        Finding(check=each["check_id"], about="/".join(each["resource"].split(".")[0::2]), says=each["check_name"])
        for each in report["results"]["failed_checks"]
    }


@pytest.fixture(scope="module")
def others(cluster: Cluster, other_judge: Path, tmp_path_factory: pytest.TempPathFactory) -> set[Finding]:
    """What checkov says of all profiles."""
    return other_findings(other_judge, tmp_path_factory.mktemp("checkov"), *(rendered(cluster, values) for values in PROFILES))


def waivers() -> Sequence[dict[str, str]]:
    return yaml.safe_load((CHART / "ci" / "waivers.yaml").read_text())


def is_waived(finding: Finding, waiver: dict[str, str]) -> bool:
    same = (finding.check, finding.says) == (waiver["check"], waiver["says"])
    return same and fnmatch.fnmatchcase(finding.about, waiver["object"])


def unwaived(found: set[Finding]) -> list[Finding]:
    return sorted(each for each in found if not any(is_waived(each, waiver) for waiver in waivers()))


@pytest.mark.parametrize("values", PROFILES, ids=lambda path: path.stem.removesuffix("-values"))
def test_an_api_server_takes_all_that_the_chart_renders_without_a_warning(known: Cluster, values: Path):
    admit(known, rendered(known, values))


@dataclass(frozen=True, kw_only=True)
class Conformance:
    """kubeconform, and where it finds the schemas that the API server publishes."""

    program: Path
    schemas: str

    def wrong(self, manifests: str) -> list[str]:
        """What is wrong with the objects, of which it must have seen every one."""
        argv = [self.program, "-strict", "-verbose", "-output", "json", "-schema-location", self.schemas, "-"]
        done = subprocess.run(argv, input=manifests, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)["resources"]
        assert {each["status"] for each in told} <= {"statusValid", "statusInvalid", "statusError"}, told
        assert len(told) == len([each for each in yaml.safe_load_all(manifests) if each])
        return [f"{each['kind']}/{each['name']}: {each['msg']}" for each in told if each["status"] != "statusValid"]


@pytest.fixture(scope="module")
def conformance(known: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Conformance:
    program = cache.ensure([cache.KUBECONFORM], print) / "kubeconform"
    monitors = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("servicemonitor", "podmonitor", "prometheusrule"))
    return Conformance(program=program, schemas=kind_schemas.write(known, tmp_path_factory.mktemp("schemas"), new=monitors))


@pytest.mark.parametrize("values", PROFILES, ids=lambda path: path.stem.removesuffix("-values"))
def test_kubeconform_finds_every_object_as_its_kind_is(known: Cluster, conformance: Conformance, values: Path):
    assert conformance.wrong(rendered(known, values)) == []


@pytest.mark.parametrize("values", PROFILES, ids=lambda path: path.stem.removesuffix("-values"))
def test_kube_score_finds_nothing_that_is_not_waived_with_a_reason(cluster: Cluster, judge: Path, values: Path):
    assert not unwaived(findings(judge, rendered(cluster, values)))


def test_checkov_finds_nothing_that_is_not_waived_with_a_reason(others: set[Finding]):
    assert not unwaived(others)


def test_each_waiver_has_a_reason_and_is_still_needed(cluster: Cluster, judge: Path, others: set[Finding]):
    found = others | {each for values in PROFILES for each in findings(judge, rendered(cluster, values))}
    for waiver in waivers():
        assert len(waiver["reason"]) > 40, waiver
        assert any(is_waived(each, waiver) for each in found), f"nothing is found any more that is waived by {waiver}"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A template with one thing wrong, and what must be said of it."""

    template: str
    right: str
    wrong: str
    said: str

    def twin(self, folder: Path) -> Path:
        """The chart with the fault in it."""
        twin = folder / "chart"
        shutil.copytree(CHART, twin)
        path = twin / "templates" / self.template
        text = path.read_text()
        assert self.right in text
        path.write_text(text.replace(self.right, self.wrong))
        return twin


POD = "deployment.yaml"
JUDGED = [
    Fault(template=POD, right="readOnlyRootFilesystem: true", wrong="", said="container-security-context-readonlyrootfilesystem"),
    Fault(template=POD, right="resources: {{- toYaml .Values.resources | nindent 10 }}", wrong="", said="container-resources"),
    Fault(template="networkpolicy.yaml", right="    matchLabels:", wrong="    matchLabels:\n      no: pod", said="pod-networkpolicy"),
    Fault(
        template="poddisruptionbudget.yaml",
        right="    matchLabels:",
        wrong="    matchLabels:\n      no: pod",
        said="deployment-has-poddisruptionbudget",
    ),
]
REFUSED = [
    Fault(template=POD, right="revisionHistoryLimit:", wrong="revisionHistoryLimits:", said="revisionHistoryLimits"),
    Fault(template=POD, right="{drop: [ALL]}", wrong="{drop: [NET_RAW]}", said="unrestricted capabilities"),
    Fault(template="servicemonitor.yaml", right="endpoints:", wrong="endpoint:", said=r"spec\.endpoint"),
]


NOT_CONFORMING = [
    REFUSED[0],
    Fault(template="servicemonitor.yaml", right="endpoints:", wrong="endpoint:", said="additional properties 'endpoint' not allowed"),
    Fault(
        template=POD, right="replicas: {{ .Values.replicas }}", wrong="replicas: two", said="at '/spec/replicas': got string, want integer"
    ),
    Fault(template="service.yaml", right="kind: Service", wrong="kind: Services", said="could not find schema for Services"),
]


@pytest.mark.parametrize("fault", JUDGED, ids=lambda fault: fault.said)
def test_a_chart_with_a_fault_is_caught(cluster: Cluster, judge: Path, tmp_path: Path, fault: Fault):
    found = unwaived(findings(judge, rendered(cluster, CHART / "ci" / "default-values.yaml", fault.twin(tmp_path))))
    assert fault.said in {each.check for each in found}


def test_a_chart_with_a_fault_is_caught_by_checkov_too(cluster: Cluster, other_judge: Path, tmp_path: Path):
    fault = Fault(template=POD, right="readOnlyRootFilesystem: true", wrong="", said="CKV_K8S_22")
    broken = rendered(cluster, CHART / "ci" / "default-values.yaml", fault.twin(tmp_path))
    assert fault.said in {each.check for each in unwaived(other_findings(other_judge, tmp_path, broken))}


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.said)
def test_a_chart_that_an_api_server_would_not_take_is_caught(known: Cluster, tmp_path: Path, fault: Fault):
    manifests = rendered(known, CHART / "ci" / "production-values.yaml", fault.twin(tmp_path))
    with pytest.raises(CommandFailedError, match=fault.said):
        admit(known, manifests)


@pytest.mark.parametrize("fault", NOT_CONFORMING, ids=lambda fault: fault.said)
def test_an_object_that_is_not_as_its_kind_is_is_caught_by_kubeconform(
    known: Cluster, conformance: Conformance, tmp_path: Path, fault: Fault
):
    (wrong,) = conformance.wrong(rendered(known, CHART / "ci" / "production-values.yaml", fault.twin(tmp_path)))
    assert re.search(fault.said, wrong)
