"""Questions by Kafka, on real brokers: each is answered on the topic of responses, whatever breaks, and one that comes twice once."""

import asyncio
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.answer_log import AnswerLog, Logged
from ray_apps.serving.api import Api
from ray_apps.serving.arms import Arms
from ray_apps.serving.asked import Asker
from ray_apps.serving.counters import Tallies
from ray_apps.serving.event_writer import EventWriter
from ray_apps.serving.feedback import Credits
from ray_apps.serving.metrics import AnswerMetrics
from ray_apps.serving.online.live import still
from ray_apps.serving.questions import Question
from ray_apps.serving.replica import Replica
from ray_apps.serving.request_ids import key_of
from ray_apps.serving.ripening import Ripening
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.events import RequestEvent, ResponseEvent
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import ServingArguments
from unit.ray_apps.serving.conftest import opener, record

LIMIT_S = 120.0
BREAKS_AT = 4
"""Items that only those ask for who are to meet a break: never one of the questions that wait for the group."""


class Line:
    """A model that is asked by Kafka: its topics, its replicas, and whoever asks."""

    def __init__(self, brokers: Brokers, requests: str, responses: str) -> None:
        self.servers, self.requests, self.responses = brokers.bootstrap_servers, requests, responses
        self.name = f"m{uuid.uuid4().hex[:8]}"
        self.producer = Producer({"bootstrap.servers": self.servers, "acks": "all"})
        self.answers: list[ResponseEvent] = []
        group = {"bootstrap.servers": self.servers, "group.id": f"caller-{self.name}", "auto.offset.reset": "earliest"}
        self.caller = Consumer(group)
        self.caller.subscribe([responses])

    def replica(self) -> Replica:
        key, tallies = key_of("uid"), Tallies()
        ripening = Ripening(tallies)
        servers = self.servers.split(",")
        arguments = ServingArguments(
            namespace="shop",
            name=self.name,
            uid="uid",
            storage_uri="file:///nowhere",
            bootstrap_servers=servers,
            requests_topic=self.requests,
            responses_topic=self.responses,
            event_topics={},
            timeout_ms=60_000,  # however busy the machine is, nobody is late
            queue_ms=60_000,
            answers_kafka=True,
        )
        made = Replica(
            replica_id=uuid.uuid4().hex,
            arguments=arguments,
            id_key=key,
            arms=Arms(opener, still),  # pyright: ignore[reportArgumentType] - a version in memory
            tallies=tallies,
            ripening=ripening,
            credits=Credits(key, ripening),
            log=AnswerLog(servers, self.requests, self.responses),
            events=EventWriter(servers, acknowledge_seconds=60.0),  # what is not acknowledged in time is written twice
            metrics=AnswerMetrics(f"shop/{self.name}"),
        )
        made.arms.apply(record(1, ("good", 100)))
        wait_until(lambda: made.arms.epoch == 1, what="a version is served", deadline_s=LIMIT_S)
        return made

    def ask(self, *ids: str, **fields: Any) -> None:
        for each in ids:
            question = {"request_id": each, "user_id": "user-1", "k": 3, "timestamp": 1, "ask": True} | fields
            self.producer.produce(self.requests, json.dumps(question).encode(), key=b"user-1")
        assert self.producer.flush(LIMIT_S) == 0

    def counted(self) -> Counter[str]:
        for message in self.caller.consume(500, 0.2):
            if message.error() is None:
                self.answers.append(ResponseEvent.model_validate_json(message.value() or b""))
        return Counter(answer.asked_id or "logged" for answer in self.answers)

    def wait_for(self, ids: Sequence[str]) -> Counter[str]:
        wait_until(lambda: set(ids) <= set(self.counted()), what="each is answered", deadline_s=LIMIT_S)
        return self.counted()


@pytest.fixture
def line(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str]) -> Generator[Line]:
    requests, responses = topic_names("asked"), topic_names("answered")
    for made in admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=3) for name in (requests, responses)]).values():
        made.result(timeout=LIMIT_S)
    line = Line(brokers, requests, responses)
    yield line
    line.caller.close()


@contextmanager
def looping() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=LIMIT_S)


@contextmanager
def asked(line: Line, kind: type[Asker] = Asker) -> Generator[list[str]]:
    """A replica that answers; put a word into what it yields, and it breaks at the next question that asks for so many items."""
    replica = line.replica()
    breaks: list[str] = []

    async def evidence() -> EvidenceResponse:
        return EvidenceResponse(replicas=[])

    api = Api(replica, evidence)

    async def answering(question: Question) -> Logged:
        if breaks and question.k == BREAKS_AT:
            raise RuntimeError(breaks.pop())
        return await api._by_kafka(question)

    with looping() as loop:
        asker = kind(replica, answering, loop)
        try:
            _until_heard(line)
            yield breaks
        finally:
            asker.close()
            replica.close()


def _until_heard(line: Line) -> None:
    """Whoever joins begins at the end: ask until it is heard."""
    stem = uuid.uuid4().hex[:6]
    wait_until(lambda: _heard(line, stem), what="the group has its partitions", deadline_s=LIMIT_S)


def _heard(line: Line, ready: str) -> bool:
    """Whoever joins begins at the end: ask until it is heard."""
    line.ask(f"{ready}-{uuid.uuid4().hex[:6]}")
    return any(name.startswith(ready) for name in line.counted())


def test_each_question_has_its_answer_and_one_that_comes_twice_has_one(line: Line):
    with asked(line):
        ids = [f"q-{number}" for number in range(60)]
        line.ask(*ids, *ids[:20])
        counted = line.wait_for(ids)
        assert {counted[each] for each in ids} == {1}
        answer = next(each for each in line.answers if each.asked_id == "q-7")
        assert (len(answer.items), answer.reason, answer.user_id) == (3, "personal", "user-1")
        assert answer.request_id != "q-7", "credit goes by an id of ours"


def test_what_cannot_be_answered_is_told_and_what_was_logged_is_no_question(line: Line):
    with asked(line):
        line.ask("no-k", k=0)
        line.ask("no-genres", filters={"genres": ["War"]})
        line.ask("only-logged", ask=False)
        line.ask("last")
        counted = line.wait_for(["no-k", "no-genres", "last"])
        told = {each.asked_id: each.problem for each in line.answers}
        assert "k: saw 0" in str(told["no-k"])
        assert "filters.genres" in str(told["no-genres"])
        assert counted["only-logged"] == 0
    logged = RequestEvent.model_validate({"request_id": "r", "user_id": "u", "k": 1, "timestamp": 1})
    assert not logged.ask


class CommitsFirst(Asker):
    """A twin that takes a question for answered as soon as it has read it."""

    def _answer(self, messages: Sequence[Message]) -> None:
        try:
            super()._answer(messages)
        except RuntimeError:
            return


@pytest.mark.parametrize(("kind", "lost"), [(Asker, False), (CommitsFirst, True)])
def test_a_replica_that_breaks_while_it_answers_loses_no_question(line: Line, kind: type[Asker], lost: bool):
    ids = [f"q-{number}" for number in range(20)]
    with asked(line, kind) as breaks:
        breaks.append("broken on purpose")
        line.ask(*ids, k=BREAKS_AT)
        if not lost:
            line.wait_for(ids)
        _until_heard(line)
        assert bool(set(ids) - set(line.counted())) is lost


def test_another_replica_answers_what_one_that_left_had_not(line: Line):
    with asked(line):
        with asked(line):
            line.ask(*(f"a-{number}" for number in range(40)))
            line.wait_for([f"a-{number}" for number in range(40)])
        line.ask(*(f"b-{number}" for number in range(40)))
        counted = line.wait_for([f"b-{number}" for number in range(40)])
        assert {counted[f"b-{number}"] for number in range(40)} == {1}
