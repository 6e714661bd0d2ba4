"""The kinds of group `recsys.dev` and the CustomResourceDefinition of each."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from recsys_schemas.structural import Schema, structural
from recsys_schemas.v1alpha1 import GROUP, VERSION
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.resource import Rule, cel
from recsys_schemas.v1alpha1.rollout import RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.version import VersionSpec, VersionStatus

LONGEST_MODEL_NAME = 40
"""Names of versions, Ray jobs and applications derive from a model's name and must stay below 63 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    priority: Literal[0, 1] = 0

    def printed(self) -> dict[str, Any]:
        """The column as the CRD has it."""
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return column | ({"priority": self.priority} if self.priority else {})


AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind: its names, its models, and how kubectl shows it."""

    name: str
    short: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    selectable: tuple[str, ...] = ()
    scale: tuple[str, str, str] | None = None

    @property
    def singular(self) -> str:
        """Lower case, as in `kubectl explain recommendermodel`."""
        return self.name.lower()

    @property
    def plural(self) -> str:
        """As in the API's path."""
        return f"{self.singular}s"


MODEL = Kind(
    name="RecommenderModel",
    short="rm",
    description="A recommender that keeps itself good: topics in, snapshots, versions, gates, rollouts and serving.",
    spec=ModelSpec,
    status=ModelStatus,
    columns=(
        Column(name="Phase", path=".status.phase"),
        Column(name="Champion", path=".status.champion.version"),
        Column(name="Challenger", path=".status.challenger.version"),
        Column(name="Weight", path=".status.challenger.weight", type="integer"),
        Column(name="NDCG", path=".status.quality.ndcg10"),
        Column(name="RF", path=".status.replication.minReplicationFactor", type="integer"),
        Column(name="Lag", path=".status.ingestion.lagRecords", type="integer"),
        Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status'),
        Column(name="Behind", path=".status.ingestion.lagSeconds", type="integer", priority=1),
        Column(name="Snapshot", path=".status.ingestion.lastSnapshotTime", type="date", priority=1),
        Column(name="DeadLetters", path=".status.ingestion.deadLetterFraction", priority=1),
        Column(name="Reason", path='.status.conditions[?(@.type=="Ready")].reason', priority=1),
        AGE,
    ),
    rules=(
        (
            f"self.metadata.name.size() <= {LONGEST_MODEL_NAME}",
            f"metadata.name must be {LONGEST_MODEL_NAME} characters or fewer: names of versions and Ray jobs derive from it",
            f"'metadata.name must be {LONGEST_MODEL_NAME} characters or fewer: names of Ray jobs derive from ' + self.metadata.name",
        ),
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name must be a DNS-1035 label: lower case letters, digits and '-', a letter first, no '-' last",
            "'metadata.name must be lower case letters, digits and -, a letter first, no - last (DNS-1035), seen ' + self.metadata.name",
        ),
    ),
    scale=(".spec.serving.replicas", ".status.serving.readyReplicas", ".status.serving.selector"),
)

MODEL_VERSION = Kind(
    name="RecommenderModelVersion",
    short="rmv",
    description="One training run: what was asked, what came out, and what was decided about it. Written by the operator.",
    spec=VersionSpec,
    status=VersionStatus,
    columns=(
        Column(name="Model", path=".spec.modelRef.name"),
        Column(name="Phase", path=".status.phase"),
        Column(name="Algorithm", path=".spec.algorithm"),
        Column(name="Rows", path=".spec.snapshot.rows", type="integer"),
        Column(name="Step", path=".status.progress.step", type="integer"),
        Column(name="Of", path=".status.progress.of", type="integer"),
        Column(name="Left", path=".status.progress.secondsLeft", type="integer", priority=1),
        # The card names the candidate first, and a column shows the first match.
        Column(name="NDCG", path='.status.metrics[?(@.metric=="ndcg@10")].value'),
        AGE,
    ),
    selectable=(".spec.modelRef.name",),
)

ROLLOUT = Kind(
    name="RecommenderRollout",
    short="rro",
    description="One promotion attempt, pinned when it began. Written by the operator; people may patch spec.control.",
    spec=RolloutSpec,
    status=RolloutStatus,
    columns=(
        Column(name="Model", path=".spec.modelRef.name"),
        Column(name="Candidate", path=".spec.candidate.name"),
        Column(name="Phase", path=".status.phase"),
        Column(name="Weight", path=".status.weight", type="integer"),
        Column(name="Step", path=".status.step", type="integer"),
        AGE,
    ),
    selectable=(".spec.modelRef.name",),
)

KINDS = (MODEL, MODEL_VERSION, ROLLOUT)


def open_api(kind: Kind) -> Schema:
    """The schema of one kind's objects: spec with defaults, status without."""
    schema: Schema = {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{kind.name}."},
            "metadata": {"type": "object"},
            "spec": structural(kind.spec, defaults=True),
            "status": structural(kind.status, defaults=False),
        },
    }
    return schema | (cel(*kind.rules) if kind.rules else {})


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        wanted, actual, selector = kind.scale
        subresources["scale"] = {"specReplicasPath": wanted, "statusReplicasPath": actual, "labelSelectorPath": selector}
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [column.printed() for column in kind.columns],
        "subresources": subresources,
        "schema": {"openAPIV3Schema": open_api(kind)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # Uninstalling the chart must not delete every model: the definition stays until a person deletes it.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["recsys"],
            },
            "versions": [version],
        },
    }
