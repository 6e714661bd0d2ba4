from typing import Any

import pytest

from recsys_operator.news import News


def rollout(**changes: Any) -> dict[str, Any]:
    metadata = {"name": "movies-000002", "namespace": "default", "uid": "u1", "generation": 1, "resourceVersion": "7"}
    return {"kind": "RecommenderRollout", "metadata": metadata | changes, "status": {"weight": 5}}


def test_a_change_of_a_status_alone_is_no_news():
    news = News()
    assert news.is_news("ADDED", rollout())
    assert not news.is_news(
        "MODIFIED", rollout(resourceVersion="8", managedFields=[{"manager": "recsys-operator"}]) | {"status": {"weight": 25}}
    )


@pytest.mark.parametrize(
    "change",
    [{"generation": 2}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"finalizers": []}, {"annotations": {"a": "b"}}, {"uid": "u2"}],
)
def test_every_other_change_is_news_once(change: dict[str, Any]):
    news = News()
    news.is_news("ADDED", rollout())
    assert news.is_news("MODIFIED", rollout(**change))
    assert not news.is_news("MODIFIED", rollout(**change))


def test_what_was_never_seen_what_is_listed_again_and_what_goes_is_news():
    news = News()
    assert news.is_news("MODIFIED", rollout())
    assert news.is_news(None, rollout())
    assert news.is_news("DELETED", rollout())
    assert news.is_news("MODIFIED", rollout())
