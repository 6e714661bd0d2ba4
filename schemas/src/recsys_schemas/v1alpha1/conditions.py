"""Conditions (metav1.Condition) and the words that they use."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource


class ConditionType(StrEnum):
    """What a condition speaks of."""

    READY = "Ready"
    CLUSTER_READY = "ClusterReady"
    TOPICS_READY = "TopicsReady"
    REPLICATION_HEALTHY = "ReplicationHealthy"
    SNAPSHOT_READY = "SnapshotReady"
    TRAINED = "Trained"
    TRIGGERS_ARMED = "TriggersArmed"
    GATES_PASSED = "GatesPassed"
    SERVING = "Serving"
    FRESHNESS_MET = "FreshnessMet"
    PROGRESSING = "Progressing"
    ROLLOUT_PAUSED = "RolloutPaused"
    ROLLED_BACK = "RolledBack"
    MIRRORED = "Mirrored"
    NOTIFIED = "Notified"
    AUDITED = "Audited"
    DEFINITIONS_CURRENT = "DefinitionsCurrent"
    STALLED = "Stalled"


class Condition(Resource):
    """One observation of the state, as metav1.Condition has it."""

    type: Annotated[str, Field(max_length=316)]
    """What it speaks of."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024)]
    """One CamelCase word for machines."""
    message: Annotated[str, Field(max_length=4096)]
    """Words for people: what was seen and what to do."""
    observed_generation: int = 0
    """The spec's generation that it was judged against."""
    last_transition_time: datetime
    """When the status last changed."""
