"""What `kubectl recsys topics verify` says of one topic."""

import pytest

from kubectl_recsys.topics import _row
from recsys_operator.state.observed import PartitionState, TopicState
from recsys_schemas.v1alpha1.topics import Topic

ASKED = Topic(name="watch", role="Watch", partitions=2)


def partition(number: int, assigned: tuple[int, ...], synced: tuple[int, ...]) -> PartitionState:
    return PartitionState(id=number, replicas=len(assigned), in_sync=len(synced), end_offset=0, assigned=assigned, synced=synced)


def seen(*partitions: PartitionState) -> TopicState:
    return TopicState(name="watch", partitions=partitions, config={"min.insync.replicas": "2"})


WHOLE, ALONE, COMING = partition(0, (1, 2, 3), (1, 2, 3)), partition(1, (2,), (2,)), partition(1, (2, 3, 1), (2, 3))


@pytest.mark.parametrize(
    ("partitions", "adding", "row"),
    [
        ((WHOLE, partition(1, (2, 3, 1), (2, 3, 1))), {}, (3, 3, "2", "ok")),
        ((WHOLE, COMING), {1: (3, 1)}, (1, 2, "2", "raising: 1 of 2 partitions have 3 replicas, 1 under way")),
        ((WHOLE, COMING), {}, (3, 2, "2", "under-replicated: a replica is out of sync; bring its broker back")),
        ((WHOLE, ALONE), {}, (1, 1, "2", "3 replicas asked: the operator adds them; see `kubectl recsys status`")),
        (
            (partition(0, (1, 2, 3), (1, 3)), COMING),
            {1: (3, 1)},
            (1, 2, "2", "under-replicated: a replica is out of sync; bring its broker back"),
        ),
    ],
)
def test_a_topic_is_told_with_its_replicas_and_what_becomes_of_them(
    partitions: tuple[PartitionState, ...], adding: dict[int, tuple[int, ...]], row: tuple[object, ...]
) -> None:
    assert _row(ASKED, seen(*partitions), adding) == ("watch", "Watch", 2, *row)


def test_replicas_of_a_topic_that_is_someone_elses_are_its_owners_to_add() -> None:
    theirs = ASKED.model_copy(update={"management_policy": "Observe"})
    assert _row(theirs, seen(WHOLE, ALONE), {})[-1] == "3 replicas asked: its owner must add them; see `kubectl recsys status`"
