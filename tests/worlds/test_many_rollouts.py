"""The short form of `make chaos-rollout`: bad versions are sent back in time, good ones promoted, a blind plan is caught."""

import pytest

from recsys_operator.plan import weighing
from worlds.many_rollouts import BAD, GOOD, walk


def test_bad_versions_are_sent_back_within_their_bounds():
    walked = walk(len(BAD), 5, bad=True)
    assert [(one.kind.name, one.words) for one in walked if one.wrong] == []
    assert {one.kind for one in walked} == set(BAD)


def test_good_versions_are_promoted():
    walked = walk(len(GOOD), 6, bad=False)
    assert [(one.kind.name, one.words) for one in walked if one.wrong] == []


def test_a_plan_that_sees_no_harm_is_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weighing.Weighing, "failing", property(lambda _: False))
    monkeypatch.setattr(weighing.Weighing, "objection", property(lambda _: ""))
    assert any(one.wrong for one in walk(3, 5, bad=True))
