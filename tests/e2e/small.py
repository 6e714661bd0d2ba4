"""A model that is ready soon: what it learns is not the point."""

from typing import Any


def small_model(name: str, algorithm: str, *, watch: str, rate: str) -> dict[str, Any]:
    """Changes to the example: fields by their path.

    Args:
        name: of the model; topics for its answers are named after it.
        algorithm: what is trained.
        watch: topic of its watch events.
        rate: topic of its rate events.
    """
    topics = [{"name": watch, "role": "Watch"}, {"name": rate, "role": "Rate"}]
    topics += [{"name": f"{name}.{role.lower()}", "role": role} for role in ("Requests", "Responses")]
    return {
        "metadata.name": name,
        "spec.kafka.topics": topics,
        "spec.model": {"algorithm": algorithm, "baselines": []},
        "spec.data.snapshot.roll": {"maxSeconds": 1},
        "spec.training": {"initialRecords": 1500},
        "spec.gates": [{"name": "seen", "metric": "ndcg@10", "atLeast": 0, "enforcement": "Observe"}],
        "spec.rollout.analysis": {"minimumSeconds": 1, "minimumRequests": 10, "attributionSeconds": 1},
        # Two cores are shared with all parts: a late answer would be the fallback's, and a machine may stand still for seconds.
        "spec.serving": {"replicas": 1, "timeoutMilliseconds": 30_000},
    }
