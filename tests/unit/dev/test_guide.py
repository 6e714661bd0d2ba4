"""What is carried out of a guide is what stands there."""

import pytest

from recsys_dev import guide
from recsys_dev.guide import GUIDES
from recsys_dev.try_out import is_whole


def test_each_numbered_step_is_one_script_of_its_indented_lines():
    steps = guide.commands(GUIDES / "kind.md")
    assert list(steps) == list(range(1, 10))
    assert steps[4] == "kubectl --namespace shop apply -f examples/kind.yaml\nkubectl --namespace shop get rm movies -w\n"
    assert steps[5].splitlines()[1].startswith("    --reader-property parse.key=true")


def test_words_that_a_guide_does_not_say_any_more_are_not_replaced_silently():
    assert guide.changed("helm install recsys", {"install": "upgrade"}) == "helm upgrade recsys"
    with pytest.raises(ValueError, match="does not say 'instal '"):
        guide.changed("helm install recsys", {"instal ": "upgrade"})


DESCRIBED = """Topic: watch	TopicId: J2	PartitionCount: 2	ReplicationFactor: 3	Configs: min.insync.replicas=2
	Topic: watch	Partition: 0	Leader: 0	Replicas: 0,1,2	Isr: 0,1,2	Elr: 	LastKnownElr:
	Topic: watch	Partition: 1	Leader: 1	Replicas: 1,2,0	Isr: 1,2,0	Elr: 	LastKnownElr:
"""


@pytest.mark.parametrize(
    "described",
    ["", DESCRIBED.replace("Factor: 3", "Factor: 1"), DESCRIBED.replace("Isr: 1,2,0", "Isr: 1,0")],
    ids=["no topics", "one copy", "a copy behind"],
)
def test_topics_are_whole_only_with_three_copies_in_sync(described: str):
    assert is_whole(DESCRIBED)
    assert not is_whole(described)
