from recsys_operator.plan.runs import MOST_METRICS, _metrics
from recsys_schemas.version_card import Evaluation
from unit.operator.plan.test_gates import card, estimate, evaluation

WANTED = ("coverage@20", "diversity@20", "hr@10", "hr@20", "map@10", "mrr@10", "ndcg@10", "ndcg@20", "novelty@20", "recall@20")


def measured(role: str, name: str) -> Evaluation:
    gaps = {f"gap:field{number}:ndcg@10": estimate(0.1, 0.2) for number in range(8)}
    more = dict.fromkeys(("calibration@20", "popularity_bias@20"), estimate(0.1, 0.2))
    return evaluation(role, name=name).model_copy(update={"metrics": dict.fromkeys(WANTED, estimate(0.1, 0.2)) | more | gaps})


def test_a_status_too_small_for_the_card_keeps_what_people_look_at_of_every_model():
    models = [measured("baseline", "Popularity"), measured("baseline", "ItemItem"), measured("champion", "m-000000")]
    full = card(*models).model_copy(update={"evaluations": [measured("candidate", "ALS"), *models]})
    found = _metrics(full)
    assert len(found) == MOST_METRICS
    names = [each.name for each in full.evaluations]
    for name in names:
        assert set(WANTED) <= {each.metric for each in found if each.model == name}
    assert [name for name in names for each in found if each.model == name] == [each.model for each in found]


def test_a_small_card_is_told_whole():
    assert [(each.model, each.metric) for each in _metrics(card(evaluation("baseline", name="Popularity")))] == [
        ("ALS", "ndcg@10"),
        ("Popularity", "ndcg@10"),
    ]
