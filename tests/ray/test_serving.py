"""Serving on a real Ray head, behind Ray Serve's own HAProxy, steered by REST as the operator steers it."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.load import Load, drive, post
from bench.serving_app import Movies, wait_for
from bench.serving_line import (
    TOKENS,
    arrays_not_finite,
    arrays_that_raise,
    good_arrays,
    write_version,
)
from ray_apps.serving.assignment import assigned, split_of
from ray_apps.stores.objects import open_store
from recsys_dev.kafka import Brokers
from recsys_dev.ray import RayHead
from recsys_schemas.events import RequestEvent, ResponseEvent, WatchEvent
from recsys_schemas.serving_api import ModelResponse
from recsys_schemas.serving_evidence import stratum_of
from recsys_schemas.serving_record import ServingArguments, ServingRecord

ITEMS, USERS = 500, 400
TOPICS = ("serving_requests", "serving_responses", "serving_watch")


@pytest.fixture(scope="module")
def movies(ray_head: RayHead, brokers: Brokers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Movies]:
    folder: Path = tmp_path_factory.mktemp("store")
    store = open_store(folder.as_uri())
    models = {
        "movies-000001": good_arrays(ITEMS, 16, seed=1),
        "movies-000002": good_arrays(ITEMS, 16, seed=2),
        "movies-000003": arrays_not_finite(ITEMS),
        "movies-000004": arrays_that_raise(ITEMS),
        "movies-000005": good_arrays(ITEMS, 16, seed=5),
    }
    digests = {name: write_version(store, name, model, items=ITEMS, users=USERS) for name, model in models.items()}
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap_servers})
    for made in admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=3) for topic in TOPICS]).values():
        made.result(timeout=120)
    arguments = ServingArguments(
        namespace="shop",
        name="movies",
        uid=f"uid-{time.time_ns()}",
        storage_uri=store.uri,
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        requests_topic=TOPICS[0],
        responses_topic=TOPICS[1],
        event_topics={"watch": TOPICS[2]},
        timeout_ms=20_000,  # however busy the machine is that runs the tests, nobody is late
        queue_ms=60_000,
    )
    headers = {"Authorization": f"Bearer {TOKENS['writer']}"}
    with (
        ray_head.client(timeout_s=60) as rest,
        httpx.Client(base_url=f"{ray_head.serve_url}/movies", headers=headers, timeout=120, trust_env=False) as client,
    ):
        line = Movies(rest=rest, client=client, arguments=arguments, digests=digests, brokers=brokers)
        line.serve(("movies-000001", 100))
        yield line
        rest.put("/api/serve/applications/", json={"applications": []}).raise_for_status()


def test_one_arm_answers_every_user_from_that_version(movies: Movies):
    movies.serve(("movies-000001", 100))
    answers = movies.answers(range(50))
    assert {(answer.model_version, answer.variant, answer.reason) for answer in answers} == {("movies-000001", "stable", "personal")}
    assert all(len({item.item_id for item in answer.items}) == 20 for answer in answers)


def test_the_replica_answers_as_the_split_says_and_users_stay_while_a_share_grows(movies: Movies):
    movies.serve(("movies-000001", 95), ("movies-000002", 5))
    small = {answer.user_id: answer.model_version for answer in movies.answers(range(300))}
    split = split_of("movies-2026", ServingRecord.model_validate(movies.record).arms)
    assert small == {user: assigned(split, user) for user in small}
    movies.serve(("movies-000001", 75), ("movies-000002", 25))
    large = {answer.user_id: answer.model_version for answer in movies.answers(range(300))}
    on_it = {user for user, version in small.items() if version == "movies-000002"}
    assert on_it
    assert on_it < {user for user, version in large.items() if version == "movies-000002"}


def test_shares_change_under_load_without_a_failed_request(movies: Movies):
    movies.serve(("movies-000001", 100))
    url = str(movies.client.base_url) + "v1/recommendations"
    questions = [post(url, json.dumps({"user_id": f"user-{user:06d}"}).encode(), TOKENS["reader"]) for user in range(USERS)]

    def steps(stop: Callable[[], object]) -> None:
        try:
            for share in (5, 25, 50, 0):
                movies.serve(("movies-000001", 100 - share), ("movies-000002", share))
            movies.serve(("movies-000002", 100))
        finally:
            stop()

    async def under_load() -> Load:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stepping = asyncio.create_task(asyncio.to_thread(steps, lambda: loop.call_soon_threadsafe(stop.set)))
        load = await drive(url, questions, clients=4, stop=stop)
        await stepping
        return load

    load = asyncio.run(under_load())
    assert load.failed == 0, load.statuses
    assert load.statuses[200] > 100
    wait_for(lambda: movies.counted("movies-000002", "impressions") > 0)


def test_of_several_arms_each_has_its_users_and_who_loses_theirs_moves_nobody_else(movies: Movies):
    two, broken, five = "movies-000002", "movies-000004", "movies-000005"
    movies.serve(("movies-000001", 40), (two, 20), (broken, 20), (five, 20))
    arms = ServingRecord.model_validate(movies.record).arms
    split, stratum = split_of("movies-2026", arms), stratum_of({arm.version: arm.share for arm in arms})
    before = {answer.user_id: answer.model_version for answer in movies.answers(range(200))}
    given = {user: assigned(split, user) for user in before}
    assert before == {user: "movies-000001" if version == broken else version for user, version in given.items()}
    asked = Counter(given.values())
    assert min(asked.values()) > 20, asked
    wait_for(lambda: {name: movies.under(stratum, name).requests for name in asked} == asked)
    assert movies.under(stratum, broken).errors == asked[broken]
    movies.serve(("movies-000001", 60), (two, 20), (broken, 0), (five, 20), ceded={broken: 20})
    after = {answer.user_id: answer.model_version for answer in movies.answers(range(200))}
    assert after == before, "somebody was moved when an arm left"


@pytest.mark.parametrize("broken", ["movies-000003", "movies-000004"])
def test_a_broken_candidate_is_answered_by_the_stable_arm_and_counted(movies: Movies, broken: str):
    movies.serve(("movies-000001", 50), (broken, 50))
    before = movies.settled(broken, "errors")
    answers = movies.answers(range(100))
    split = split_of("movies-2026", ServingRecord.model_validate(movies.record).arms)
    hit = sum(assigned(split, answer.user_id) == broken for answer in answers)
    assert hit > 20
    assert {answer.model_version for answer in answers} == {"movies-000001"}
    wait_for(lambda: movies.counted(broken, "errors") == before + hit)


def test_a_broken_only_arm_is_answered_by_what_is_popular(movies: Movies):
    movies.serve(("movies-000003", 100))
    answers = movies.answers(range(20))
    assert {(answer.variant, answer.reason) for answer in answers} == {("fallback", "fallback")}
    assert all(len(answer.items) == 20 for answer in answers)


def test_a_version_with_another_digest_is_refused_and_the_older_record_serves_on(movies: Movies):
    movies.serve(("movies-000001", 100))
    right = movies.digests["movies-000002"]
    movies.digests["movies-000002"] = "sha256:" + "0" * 64
    movies.put(("movies-000001", 95), ("movies-000002", 5))
    movies.digests["movies-000002"] = right

    def told() -> bool:
        evidence = movies.evidence()
        fresh = [report for report in evidence.replicas if report.age_seconds < 3] if evidence else []
        return len(fresh) >= 2 and all("movies-000002" in report.refused for report in fresh)

    wait_for(told)
    state = ModelResponse.model_validate_json(movies.client.get("/v1/model").content)
    assert (state.epoch, state.wanted_epoch) == (movies.epoch - 1, movies.epoch)
    assert {answer.model_version for answer in movies.answers(range(50))} == {"movies-000001"}
    movies.serve(("movies-000001", 75), ("movies-000002", 25))


def test_tokens_are_asked_for_through_the_ingress(movies: Movies):
    for headers, status in (({"Authorization": "Bearer wrong"}, 401), ({"Authorization": f"Bearer {TOKENS['operator']}"}, 403)):
        answered = movies.client.post("/v1/recommendations", json={"user_id": "u"}, headers=headers)
        assert (answered.status_code, answered.headers["content-type"]) == (status, "application/problem+json")
    assert movies.client.get("/healthz", headers={"Authorization": ""}).status_code == 200
    assert movies.client.get("/readyz", headers={"Authorization": ""}).status_code == 200


def test_questions_and_answers_land_on_kafka(movies: Movies):
    movies.serve(("movies-000001", 100))
    asked = {answer.request_id: answer for answer in movies.answers(range(40))}
    requests = movies.consume(TOPICS[0], lambda values: asked.keys() <= {RequestEvent.model_validate_json(v).request_id for v in values})
    responses = movies.consume(TOPICS[1], lambda values: asked.keys() <= {ResponseEvent.model_validate_json(v).request_id for v in values})
    assert {RequestEvent.model_validate_json(v).request_id for v in requests} == {
        ResponseEvent.model_validate_json(v).request_id for v in responses
    }
    logged = {event.request_id: event for event in map(ResponseEvent.model_validate_json, responses)}
    assert all(logged[request_id].items == answer.items for request_id, answer in asked.items())
    assert all(logged[request_id].epoch == movies.epoch for request_id in asked)


def test_events_are_on_kafka_when_they_are_acknowledged_and_credit_the_version(movies: Movies):
    movies.serve(("movies-000001", 100))
    before = movies.settled("movies-000001", "rewards")
    answer = movies.answers(range(1))[0]
    event: dict[str, Any] = {
        "event_id": f"e-{time.time_ns()}",
        "user_id": answer.user_id,
        "item_id": answer.items[0].item_id,
        "timestamp": time.time_ns() // 1_000_000,
        "request_id": answer.request_id,
    }
    sent = movies.client.post("/v1/events", json={"event_type": "watch", "events": [event, event | {"event_id": event["event_id"] + "b"}]})
    assert (sent.status_code, sent.json()) == (200, {"accepted": 2})
    found = movies.consume(TOPICS[2], lambda values: len(values) >= 2)
    assert {WatchEvent.model_validate_json(value).item_id for value in found} == {answer.items[0].item_id}
    wait_for(lambda: movies.counted("movies-000001", "rewards") == before + 1)


def test_what_a_killed_replica_counted_stays_counted_and_another_takes_its_place(movies: Movies):
    movies.serve(("movies-000001", 100))
    before = movies.settled("movies-000001", "requests")
    movies.answers(range(20))
    wait_for(lambda: movies.counted("movies-000001", "requests") == before + 20)
    listed = movies.replicas()
    victim, pid = next(iter(listed.items()))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: victim not in movies.replicas() and len(movies.replicas()) == 2)
    wait_for(movies.in_effect)
    evidence = wait_for(movies.evidence)
    assert evidence is not None
    assert victim in {report.replica_id for report in evidence.replicas}
    assert movies.counted("movies-000001", "requests") >= before + 20


def test_a_lost_board_is_made_again_and_the_living_report_anew(movies: Movies):
    movies.serve(("movies-000001", 100))
    wait_for(lambda: len(movies.replicas()) == 2)
    living = set(movies.replicas())
    boards = [actor for actor in movies.actors() if actor["name"] == f"evidence-{movies.arguments.uid}" and actor["state"] == "ALIVE"]
    assert len(boards) == 1
    os.kill(boards[0]["pid"], signal.SIGKILL)
    wait_for(lambda: (told := movies.evidence()) is not None and {report.replica_id for report in told.replicas} == living)
    wait_for(movies.in_effect)
