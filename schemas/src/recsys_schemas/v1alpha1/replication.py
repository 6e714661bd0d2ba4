"""What the brokers say of a model's topics, and how far the raising of replicas is.

Of the latter the operator remembers what nobody could tell it again: which moves and which throttles are its own.
"""

from datetime import datetime

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource


class RaisingTopic(Resource):
    """How far one topic is."""

    name: str
    """The topic."""
    partitions: int
    """How many it has."""
    partitions_done: int
    """How many of them have as many replicas as the spec asks, none of them still being copied."""


class MovingPartition(Resource):
    """One partition that gets more replicas now."""

    topic: str
    """Its topic."""
    partition: int
    """Its number."""
    replicas: list[int]
    """Brokers that it will have, in order: those that it had come first."""
    adding: list[int]
    """Those of them that it did not have."""


class Raising(Resource):
    """Replicas being added (KIP-455) under a throttle (KIP-73)."""

    since: datetime
    """When it began."""
    topics: list[RaisingTopic]
    """How far it is."""
    bytes_per_second: int
    """The throttle of the partitions under way; spec.kafka.replicationThrottleBytesPerSecond as it was when they began."""
    moving: list[MovingPartition] = Field(default_factory=list[MovingPartition])
    """The partitions under way. Written here before anything is asked of the brokers: a move or a throttle that is not told here is
    someone else's."""
    throttled_brokers: list[int] = Field(default_factory=list[int])
    """Brokers that had no throttle of their own; ours is taken away from them afterwards."""
    unthrottling: bool = False
    """The partitions are done; their throttle is being taken away."""


class Replication(Resource):
    """What the brokers say of the model's topics."""

    topics: int
    """How many there are."""
    under_replicated_partitions: int
    """Partitions with a replica out of sync; one that is only being added does not count."""
    min_replication_factor: int
    """The least over all partitions; a replica that is only being added does not count."""
    raising: Raising | None = None
    """Replicas being added; not there when none are."""
