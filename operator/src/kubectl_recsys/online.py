"""Undo a bad hour: name the records since a moment or an offset, and have every replica's live knowledge leave them out."""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

import argparse
import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from kubectl_recsys.views import find_model
from recsys_operator.plan.lag import event_topics
from recsys_operator.state.observed import ModelState
from recsys_operator.world.connection import read_connection
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kafka_client import CALL_S, open_client, raise_refusal, silence, words_of
from recsys_operator.world.kube import Kube
from recsys_operator.world.objects import MODELS, dump, place
from recsys_schemas.v1alpha1.serving import SkippedRecords

MOST = 200
"""Ranges that fit in spec.serving.online.skip."""
_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewind:
    """What is asked: a moment, or an offset of one partition."""

    to: datetime | int
    until: datetime | int | None
    topic: str | None
    partition: int | None


def moment(text: str, now: datetime) -> datetime | int:
    """An offset (`1204`), a time (`2026-11-30T09:00:00Z`, UTC where no zone is named) or how long ago (`15m`).

    Raises:
        ValueError: it is none of these.
    """
    if text.isdigit():
        return int(text)
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    told = datetime.fromisoformat(text)
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def asked_of(asked: argparse.Namespace, now: datetime) -> Rewind:
    """What the command line asks.

    Raises:
        RefusedError: a word is none, or an offset names no partition; the message says the mend.
    """
    words: dict[str, datetime | int | None] = {}
    for option, text in (("--to", asked.to), ("--until", asked.until)):
        try:
            words[option] = None if text is None else moment(text, now)
        except (ValueError, OverflowError):
            mend = "name an offset (1204), a time (2026-11-30T09:00:00Z) or how long ago (15m)"
            raise RefusedError(f"{option}: seen {text!r}; {mend}") from None
    to, until = words["--to"], words["--until"]
    assert to is not None
    if isinstance(to, int) != (isinstance(until, int) if until is not None else isinstance(to, int)):
        raise RefusedError("--until: name an offset where --to is one, and a time where --to is one")
    if isinstance(to, int) and (asked.topic is None or asked.partition is None):
        raise RefusedError(f"--to {to}: an offset is one partition's; add --topic and --partition, or name a time")
    return Rewind(to=to, until=until, topic=asked.topic, partition=asked.partition)


def ranges(first: Mapping[Place, int], last: Mapping[Place, int]) -> list[SkippedRecords]:
    """The records from `first` up to but without `last` of each partition that has any."""
    found = ((place, first[place], last[place] - 1) for place in sorted(first.keys() & last.keys()))
    return [
        SkippedRecords(topic=topic, partition=partition, first=low, last=high) for (topic, partition), low, high in found if low <= high
    ]


def merged(skips: Iterable[SkippedRecords]) -> list[SkippedRecords]:
    """The same records in as few ranges as they need, in order."""
    found: list[SkippedRecords] = []
    for each in sorted(skips, key=lambda skip: (skip.topic, skip.partition, skip.first)):
        before = found[-1] if found else None
        if before is not None and (before.topic, before.partition) == (each.topic, each.partition) and each.first <= before.last + 1:
            found[-1] = before.model_copy(update={"last": max(before.last, each.last)})
        else:
            found.append(each)
    return found


async def rewind(kube: Kube, namespace: str, name: str, asked: Rewind) -> int:
    """Add what is asked to a model's `spec.serving.online.skip`.

    Raises:
        RefusedError: there is no such model or topic, nothing to leave out, or more ranges than fit.
        UnavailableError: the brokers do not answer.
    """
    model = await find_model(kube, namespace, name)
    skips = await _asked_ranges(kube, model, asked)
    if not skips:
        raise RefusedError("nothing was written since then: there is nothing to leave out")
    together = merged([*model.spec.serving.online.skip, *skips])
    if len(together) > MOST:
        raise RefusedError(f"spec.serving.online.skip: {len(together)} ranges, at most {MOST} fit; leave out longer stretches")
    await _write(kube, namespace, name, together)
    for each in skips:
        print(f"{each.topic}/{each.partition}: {each.last - each.first + 1} records left out, {each.first} to {each.last}")
    print(f"recommendermodel.recsys.dev/{name}: replicas come to know the rest again; `kubectl recsys online restore {name}` undoes it")
    return 0


async def restore(kube: Kube, namespace: str, name: str) -> int:
    """Leave nothing out any more.

    Raises:
        RefusedError: there is no such model.
    """
    model = await find_model(kube, namespace, name)
    await _write(kube, namespace, name, [])
    print(f"recommendermodel.recsys.dev/{name}: {len(model.spec.serving.online.skip)} ranges are known to the answers again")
    return 0


async def _write(kube: Kube, namespace: str, name: str, skips: Sequence[SkippedRecords]) -> None:
    change = {"spec": {"serving": {"online": {"skip": [dump(each) for each in skips]}}}}
    if await kube.merge(place(MODELS, namespace, name), change) is None:
        raise RefusedError(f"model {namespace}/{name} is gone")


async def _asked_ranges(kube: Kube, model: ModelState, asked: Rewind) -> list[SkippedRecords]:
    topics = [asked.topic] if asked.topic else sorted(event_topics(model))
    if asked.topic and asked.topic not in event_topics(model):
        raise RefusedError(f"--topic: {asked.topic!r} is no topic of events of this model; it has {', '.join(sorted(event_topics(model)))}")
    at = await read_connection(kube, model)
    brokers = open_client(at)

    def look() -> tuple[Mapping[Place, int], Mapping[Place, int]]:
        seen = brokers.admin.list_topics(timeout=CALL_S).topics
        places = [(topic, partition) for topic in topics if topic in seen for partition in seen[topic].partitions]
        places = [place for place in places if asked.partition in (None, place[1])]

        def offsets(when: datetime | int | None) -> Mapping[Place, int]:
            if isinstance(when, int):
                return dict.fromkeys(places, when)
            spec = OffsetSpec.latest() if when is None else OffsetSpec.for_timestamp(int(when.timestamp() * 1000))
            answers = brokers.admin.list_offsets(dict.fromkeys((TopicPartition(*p) for p in places), cast("OffsetSpec", spec)))
            found = {(each.topic, each.partition): int(answer.result(timeout=CALL_S).offset) for each, answer in answers.items()}
            return {place: offset for place, offset in found.items() if offset >= 0}

        ends = offsets(None)
        if asked.until is None:
            return offsets(asked.to), ends
        until = offsets(asked.until)
        return offsets(asked.to), {place: min(until.get(place, end), end) for place, end in ends.items()}

    try:
        first, last = await asyncio.to_thread(look)
    except (KafkaException, TimeoutError) as error:
        raise_refusal(at, brokers, error)
        raise await silence(at, words_of(error)) from error
    return ranges(first, last)
