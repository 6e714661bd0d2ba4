"""Asking for another version to serve: what a replica says, and what it reports."""

import json
import logging
from typing import Any

import pytest

from ray_apps.serving.api import Api
from ray_apps.serving.switching import OPEN_SECONDS, Switches
from recsys_schemas.serving_api import ModelResponse, SwitchResponse
from recsys_schemas.serving_evidence import EvidenceResponse
from unit.ray_apps.serving.conftest import Caller

ADMIN = "let-me-switch"


def kept(made: dict[str, Any], *versions: str) -> dict[str, Any]:
    """The same record with versions that served before and are kept loaded."""
    arms = [{"version": version, "digest": f"sha256:{version}", "variant": "holdback", "share": 0} for version in versions]
    return made | {"arms": [*made["arms"], *arms]}


@pytest.fixture
def served(caller: Any, make_record: Any, wait_until: Any) -> Any:
    """A replica that serves one version, tries another, and keeps a third."""
    caller.serve(kept(make_record(7, ("good", 95), ("other", 5)), "described", "late"))
    wait_until(lambda: len(caller.replica.arms.ready()) == 4)
    return caller


def ask(caller: Any, token: str = ADMIN, **body: Any) -> Any:
    return caller.call("POST", "/v1/model:switch", token=token, json=body)


def test_an_ask_is_accepted_and_stands_in_the_replicas_report(served: Any):
    answered = ask(served, version="described", reason="the new one offends")
    told = SwitchResponse.model_validate_json(answered.content)
    assert (answered.status_code, told.state) == (202, "Asked")
    report = served.replica.report().switch
    assert (report.id, report.version, report.instead_of, report.reason) == (told.id, "described", "good", "the new one offends")
    assert report.by.startswith("key:")
    assert EvidenceResponse.model_validate_json(EvidenceResponse(replicas=[served.replica.report()]).model_dump_json()).replicas[0].switch


def test_a_replica_does_not_switch_by_itself(served: Any):
    before = served.replica.arms.serving
    ask(served, version="described")
    assert served.replica.arms.serving is before
    assert {served.ask(user_id=f"user-{n}").json()["model_version"] for n in range(30)} <= {"good", "other"}


def test_asking_again_under_the_same_record_is_the_same_ask_and_under_another_is_not(served: Any, make_record: Any):
    first, second = (ask(served, version="described").json()["id"] for _ in range(2))
    assert first == second
    served.serve(kept(make_record(8, ("good", 95), ("other", 5)), "described", "late"))
    assert ask(served, version="described").json()["id"] != first


def test_what_serves_already_is_told_and_takes_the_place_of_an_earlier_ask(served: Any):
    ask(served, version="described")
    answered = ask(served, version="good")
    assert (answered.status_code, answered.json()) == (200, {"version": "good", "state": "Serving", "id": None})
    assert served.replica.report().switch.version == "good"


@pytest.mark.parametrize(
    ("version", "words"), [("nobody", "is not retained"), ("other", "is a candidate"), ("sent-back", "is not retained")]
)
def test_a_version_that_cannot_be_had_is_refused_with_those_that_can(served: Any, version: str, words: str):
    answered = ask(served, version=version)
    assert (answered.status_code, answered.headers["content-type"]) == (409, "application/problem+json")
    problem = answered.json()
    assert problem["field"] == "version"
    for each in (repr(version), words, "retained are: described, late", "kubectl recsys rollback"):
        assert each in problem["detail"]
    assert served.replica.report().switch is None


def test_a_version_that_could_not_be_mapped_is_refused_with_the_reason(caller: Any, make_record: Any, wait_until: Any):
    broken = kept(make_record(3, ("good", 100)), "described")
    broken["arms"][1]["digest"] = "sha256:exchanged"
    caller.serve(broken)
    wait_until(caller.replica.arms.refused)
    answered = ask(caller, version="described")
    assert answered.status_code == 409
    assert "sha256:exchanged" in answered.json()["detail"]
    assert "retained are: none" in answered.json()["detail"]


@pytest.mark.parametrize("token", ["let-me-read", "let-me-write", "let-me-operate"])
def test_nobody_but_an_admin_may_ask(served: Any, token: str):
    assert ask(served, token=token, version="described").status_code == 403
    assert served.replica.report().switch is None


@pytest.mark.parametrize("body", [{}, {"version": 7}, {"version": ""}, {"version": "v" * 64}, {"version": "good", "force": True}])
def test_a_body_that_does_not_fit_is_told_where(served: Any, body: dict[str, Any]):
    assert ask(served, **body).status_code == 422


def test_before_there_is_a_version_nothing_can_be_asked(caller: Any, make_record: Any):
    caller.replica.arms.apply(make_record(1))
    assert ask(caller, version="good").status_code == 503


def test_what_the_board_does_not_have_is_not_acknowledged_and_taken_back(served: Any):
    async def lost() -> EvidenceResponse:
        raise TimeoutError

    served.api = Api(served.replica, lost)
    answered = ask(served, version="described")
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "2")
    assert served.replica.report().switch is None


def test_an_ask_is_over_after_ten_minutes():
    now = [0.0]
    switches = Switches(lambda: now[0])
    switches.ask("b", "a", 3, "key:1", "")
    now[0] = OPEN_SECONDS - 1
    newest = switches.newest()
    assert newest is not None
    assert newest.age_seconds == OPEN_SECONDS - 1
    now[0] = OPEN_SECONDS
    assert switches.newest() is None


def test_each_ask_is_told_in_the_log_with_who_made_it(served: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "ray_apps.serving.audit"):
        ask(served, version="described")
        ask(served, version="nobody")
        ask(served, token="let-me-read", version="described")
    told = [(record.__dict__["action"], record.__dict__["outcome"]) for record in caplog.records if record.name.endswith("audit")]
    assert told[:2] == [("POST /v1/model:switch", "202"), ("POST /v1/model:switch", "409")]
    assert ADMIN not in caplog.text


def test_the_model_route_names_what_is_retained_and_what_was_asked(served: Any):
    ask(served, version="late")
    state = ModelResponse.model_validate_json(served.call("GET", "/v1/model").content)
    assert state.retained == ["described", "late"]
    assert state.switch is not None
    assert state.switch.version == "late"


def test_a_switch_between_loaded_versions_loads_nothing(served: Any, make_record: Any):
    back = kept(make_record(8, ("described", 100)), "good")
    mapped = served.replica.arms._loaded[("described", "sha256:described")]
    served.serve(back)
    assert served.replica.arms.serving.stable is mapped
    assert served.replica.report().record_ms is not None
    assert json.loads(Caller(served.replica).ask().content)["model_version"] == "described"
