"""Questions that come by Kafka: each is answered on the topic of responses by one of the replicas, at least once.

The replicas are one consumer group. What a replica has answered, and Kafka has acknowledged, is committed after that; killed in between,
another answers again. Ids that were answered here lately are not answered again, so a question that is sent twice has one answer.
"""

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from ray_apps.serving.answer_log import Logged, encode, request_value, response_value
from ray_apps.serving.event_writer import NotAcknowledged
from ray_apps.serving.online.deeds import LONGEST_ID
from ray_apps.serving.problems import ProblemError, unfit
from ray_apps.serving.questions import Question, of_event
from ray_apps.serving.replica import Replica
from ray_apps.stores.secrets import Rotation, SecretsError
from recsys_schemas.events import RequestEvent
from recsys_schemas.kafka_access import client_settings, names_prefix

REMEMBERED = 100_000
"""Ids that are known to be answered; older ones are forgotten first."""
NO_VERSION = "none"
_AT_ONCE, _WAIT_S, _PAUSE_S, _LONGEST_S, _CALL_S = 100, 0.1, 1.0, 60.0, 10.0
_UNAVAILABLE = 503

logger = logging.getLogger(__name__)
Answering = Callable[[Question], Awaitable[Logged]]
Record = tuple[str, bytes, bytes]
"""Topic, key, value."""


class Unfit(NamedTuple):
    """A question that is asked and does not fit."""

    request_id: str
    user_id: str
    timestamp: int
    why: str


def answer_asked(replica: Replica, answering: Answering) -> "Asker | None":
    """Begin to answer, if the model is asked by Kafka. Called on the event loop that answers."""
    return Asker(replica, answering, asyncio.get_running_loop()) if replica.arguments.answers_kafka else None


class Asker:
    """Reads questions on a thread of its own; they are answered on the event loop, as those of HTTP are."""

    def __init__(self, replica: Replica, answering: Answering, loop: asyncio.AbstractEventLoop) -> None:
        """Begin at once."""
        self._replica, self._answering, self._loop = replica, answering, loop
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._stop = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="asked-by-kafka", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what is in hand, commit it, and leave the group. Not to be called on the event loop."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._serve()
            except (KafkaException, SecretsError) as error:
                self._tell(str(error))
            except Exception:
                logger.exception("questions by Kafka failed", extra={"event": "AskedFailed"})
            self._stop.wait(_PAUSE_S)

    def _tell(self, words: str) -> None:
        if words != self._said:
            self._said = words
            logger.warning("questions cannot be read", extra={"event": "AskedTroubled", "reason": words})

    def _serve(self) -> None:
        arguments = self._replica.arguments
        rotation = Rotation(arguments.kafka_security)
        name = f"{names_prefix(arguments.namespace, arguments.name)}asked"
        settings: dict[str, Any] = {
            **client_settings(arguments.bootstrap_servers, arguments.kafka_security, rotation.now),
            "client.id": name,
            "group.id": name,
            "auto.offset.reset": "latest",
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 500,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            "topic.metadata.refresh.interval.ms": 5_000,  # or a topic that is made a moment later is seen after five minutes
            "allow.auto.create.topics": False,
        }
        consumer = Consumer(settings, logger=logger)
        try:
            consumer.subscribe([arguments.requests_topic], on_assign=_begin)
            while not (self._stop.is_set() or rotation.changed()):
                messages = consumer.consume(_AT_ONCE, _WAIT_S)
                self._answer(messages)
                for message in messages:
                    if message.error() is None:
                        consumer.store_offsets(message=message)
        finally:
            consumer.close()

    def _answer(self, messages: Sequence[Message]) -> None:
        """Answer all, and come back only when Kafka has acknowledged every answer, or the replica stops."""
        asked = self._new([question for message in messages if (question := question_of(message)) is not None])
        if not asked:
            return
        records: list[Record] | None = None
        while records is None or not self._on_loop(self._written(records)):
            if self._stop.is_set():
                raise KafkaException("stopped before all was acknowledged: another replica answers")
            records = records or self._on_loop(self._answers(asked))
            if records is None:  # no version is there yet
                self._stop.wait(_PAUSE_S)
        for question in asked:
            self._answered[question.request_id] = None
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)

    def _new(self, asked: Sequence[RequestEvent | Unfit]) -> list[RequestEvent | Unfit]:
        return list({question.request_id: question for question in asked if question.request_id not in self._answered}.values())

    def _on_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=_LONGEST_S)

    async def _answers(self, asked: Sequence[RequestEvent | Unfit]) -> list[Record] | None:
        """Each answer, and each question as it is logged; None while no version can answer."""
        arguments = self._replica.arguments
        records: list[Record] = []
        for question in asked:
            key = question.user_id.encode()
            if isinstance(question, Unfit):
                records.append((arguments.responses_topic, key, _refused(question, question.why)))
                continue
            try:
                logged = await self._answering(of_event(question))
            except ProblemError as error:
                if error.problem.status == _UNAVAILABLE:
                    return None
                records.append((arguments.responses_topic, key, _refused(question, error.problem.detail)))
                continue
            records.append((arguments.requests_topic, key, request_value(logged)))
            records.append((arguments.responses_topic, key, response_value(logged, question.request_id)))
            await asyncio.sleep(0)  # whoever asks by HTTP has their turn
        return records

    async def _written(self, records: Sequence[Record]) -> bool:
        """Whether Kafka has all of them."""
        try:
            for topic in sorted({topic for topic, _, _ in records}):
                await self._replica.events.write(topic, [(key, value) for into, key, value in records if into == topic])
        except NotAcknowledged as error:
            self._tell(str(error))
            return False
        return True


def _begin(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    """Begin where the group was; the first time at the end, which is committed at once, or a break would skip what came since."""
    known = consumer.committed(partitions, timeout=_CALL_S)
    fresh = [TopicPartition(each.topic, each.partition) for each in known if each.offset < 0]
    for each in fresh:
        each.offset = consumer.get_watermark_offsets(each, timeout=_CALL_S)[1]
    if fresh:
        consumer.commit(offsets=fresh, asynchronous=False)
    consumer.incremental_assign([*(each for each in known if each.offset >= 0), *fresh])


def question_of(message: Message) -> RequestEvent | Unfit | None:
    """The question that a record puts; None for one that was only logged, or of which nobody can tell who asks."""
    value = message.value() if message.error() is None else None
    if not value or b'"ask"' not in value:
        return None
    try:
        question = RequestEvent.model_validate_json(value)
    except ValidationError as error:
        return _unfit(value, unfit(error).problem.detail)
    return question if question.ask else None


def _unfit(value: bytes, why: str) -> Unfit | None:
    try:
        told = _IDS.decode(value)
    except (msgspec.DecodeError, ValueError):
        return None
    return Unfit(told.request_id, told.user_id, 0, why) if told.ask and 0 < len(told.request_id) <= LONGEST_ID else None


class _Ids(msgspec.Struct):
    request_id: str
    ask: bool
    user_id: str = "unknown"


_IDS = msgspec.json.Decoder(_Ids)


def _refused(question: RequestEvent | Unfit, why: str) -> bytes:
    return encode(
        {
            "request_id": question.request_id,
            "asked_id": question.request_id,
            "user_id": question.user_id,
            "timestamp": question.timestamp,
            "model_version": NO_VERSION,
            "variant": "fallback",
            "reason": "fallback",
            "items": [],
            "epoch": 0,
            "latency_ms": 0.0,
            "problem": why[:1000],
        }
    )
