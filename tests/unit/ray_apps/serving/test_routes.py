"""The routes beside the hot path."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ray_apps.serving.openapi import openapi
from recsys_schemas.serving_api import ModelResponse
from recsys_schemas.serving_evidence import EvidenceResponse

OPERATOR = "let-me-operate"


def test_the_model_route_tells_what_is_served_and_what_is_waited_for(caller: Any, make_record: Any, wait_until: Any):
    caller.serve(make_record(3, ("good", 100)))
    wrong = make_record(4, ("good", 95), ("other", 5))
    wrong["arms"][1]["digest"] = "sha256:wrong"
    caller.replica.arms.apply(wrong)
    wait_until(caller.replica.arms.refused)
    state = ModelResponse.model_validate_json(caller.call("GET", "/v1/model").content)
    assert (state.ready, state.epoch, state.wanted_epoch) == (True, 3, 4)
    assert [(arm.version, arm.mapped) for arm in state.arms] == [("good", True), ("other", False)]
    assert "sha256:wrong" in str(state.arms[1].refused)


def test_a_refused_record_is_told(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    caller.replica.arms.apply({"epoch": -1})
    state = ModelResponse.model_validate_json(caller.call("GET", "/v1/model").content)
    assert "epoch" in str(state.refused_record)


def test_evidence_is_what_the_replicas_report(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    caller.ask()
    evidence = EvidenceResponse.model_validate_json(caller.call("GET", "/v1/evidence", token=OPERATOR).content)
    assert evidence.replicas[0].epoch == 3
    assert evidence.replicas[0].ready == {"good": "sha256:good"}
    assert evidence.replicas[0].counters["good"].requests == 1


def test_metrics_can_be_read_by_prometheus(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    caller.ask()
    caller.ask(user_id="somebody new")
    text = caller.call("GET", "/metrics", token=OPERATOR).text
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in text_string_to_metric_families(text) for s in f.samples}
    labels = (("model", "shop/movies"), ("reason", "popular"), ("status", "200"), ("variant", "stable"))
    assert samples["recsys_requests_total", labels] == 1
    assert samples["recsys_request_seconds_count", (("model", "shop/movies"), ("variant", "stable"))] == 2
    assert ("recsys_answer_log_dropped_total", (("model", "shop/movies"),)) in samples


def test_the_description_names_every_route_and_resolves_every_reference(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    description = caller.call("GET", "/openapi.json").json()
    assert set(description["paths"]) == set(caller.api._routes)
    assert description == openapi()
    references: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            references.extend([value["$ref"]] if "$ref" in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(description)
    assert references
    assert {reference.rsplit("/", 1)[1] for reference in references} <= set(description["components"]["schemas"])


def test_the_docs_page_needs_nothing_from_elsewhere(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    page = caller.call("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/v1/recommendations" in page.text
    assert "://" not in page.text.replace("about:blank", "")


def test_a_reward_is_credited_once_to_the_version_that_answered_this_user(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    request_id = caller.ask().json()["request_id"]
    ledger = caller.replica.credits
    assert len(request_id) <= 128
    assert not ledger.credit(request_id, "another user", 60)
    assert not ledger.credit(request_id[:-1] + "x", "user-1", 60)
    assert not ledger.credit("made up", "user-1", 60)
    assert ledger.credit(request_id, "user-1", 60)
    assert not ledger.credit(request_id, "user-1", 60)
    assert caller.replica.tallies.counters()["good"].rewards == 0, "a green answer proves nothing yet"
    caller.replica.ripening.ripen(-2)
    counters = caller.replica.tallies.counters()["good"]
    assert (counters.impressions, counters.rewards) == (1, 1)


def test_an_event_after_the_attribution_time_earns_nothing(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("good", 100)))
    request_id = caller.ask().json()["request_id"]
    assert not caller.replica.credits.credit(request_id, "user-1", 0)


def test_a_fallback_answer_earns_nobody_a_reward(caller: Any, make_record: Any):
    caller.serve(make_record(3, ("broken", 100)))
    body = caller.ask().json()
    assert not caller.replica.credits.credit(body["request_id"], "user-1", 60)
    caller.replica.ripening.ripen(-2)
    assert caller.replica.tallies.counters()["broken"].rewards == 0
