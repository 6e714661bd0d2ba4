"""The chain: records in canonical JSON, each with the hash of the one before; and what is wrong with one that was read."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from recsys_operator.plan.audit import again
from recsys_schemas.audit import FIRST, AuditRecord, canonical, digest

_MOST_WORDS = 300


@dataclass(slots=True, kw_only=True)
class Link:
    """One record of the topic, as it was read."""

    at: str
    """Partition and offset."""
    record: AuditRecord | None
    faults: list[str] = field(default_factory=list[str])
    """What is wrong with it, in words."""
    repeat: bool = False
    """The same record once more: harmless."""


@dataclass(slots=True, kw_only=True)
class Audit:
    """The records of one model, checked."""

    links: list[Link] = field(default_factory=list[Link])
    missing: list[str] = field(default_factory=list[str])
    """What is not there, in words."""

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong."""
        return [f"{link.at}: {fault}" for link in self.links for fault in link.faults] + self.missing

    @property
    def records(self) -> list[AuditRecord]:
        """Each once."""
        return [link.record for link in self.links if link.record is not None and not link.repeat]


def check(values: Iterable[tuple[str, bytes]], *, head: tuple[int, str] | None = None) -> Audit:
    """Read records in the order of the topic, check the chain, and decide each verdict again.

    Args:
        values: where each stands, and its bytes.
        head: number and hash of the last record, as the model's status has them: what was cut off at the end shows by it.
    """
    audit = Audit()
    by_number: dict[int, str] = {}
    last = -1
    for at, value in values:
        link = _read(at, value)
        audit.links.append(link)
        if link.record is None:
            continue
        last = _chained(link, link.record, by_number, last)
        if not link.repeat:
            link.faults += again.differences(link.record)
    audit.missing += _gaps(by_number)
    if head is not None and head[0] >= 0:
        audit.missing += _head(by_number, head)
    return audit


def _read(at: str, value: bytes) -> Link:
    try:
        fields = json.loads(value)
        record = AuditRecord.model_validate(fields)
    except (ValueError, ValidationError) as error:
        return Link(at=at, record=None, faults=[f"tampered: no audit record ({str(error)[:_MOST_WORDS]})"])
    link = Link(at=at, record=record)
    if digest(fields) != record.sha256:
        link.faults.append(f"tampered: record {record.sequence} does not have the hash that it names")
    elif canonical(fields) != value:
        link.faults.append(f"tampered: record {record.sequence} is not written as it was")
    return link


def _chained(link: Link, record: AuditRecord, by_number: dict[int, str], last: int) -> int:
    """Compare a record with those before it; return the number that the next one follows."""
    number, known = record.sequence, by_number.get(record.sequence)
    if known == record.sha256:
        link.repeat = True
        return last
    if known is not None:
        link.faults.append(f"forked: another record {number} stands before it; two operators have written, or one of them is forged")
        return last
    if number < last:
        link.faults.append(f"reordered: record {number} stands after record {last}")
    before = by_number.get(number - 1) if number else FIRST
    if before is not None and record.previous != before:
        link.faults.append(f"broken: record {number} does not follow the record {number - 1} that stands here")
    by_number[number] = record.sha256
    return max(last, number)


def _gaps(by_number: dict[int, str]) -> list[str]:
    gone = [number for number in range(max(by_number, default=-1)) if number not in by_number]
    runs: list[list[int]] = []
    for number in gone:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"record {first}" if first == last else f"records {first} to {last}" for first, last in runs]
    return [f"dropped: {each} not on the topic" + (_RETENTION if run[0] == 0 else "") for each, run in zip(words, runs, strict=True)]


_RETENTION = ": removed, or older than its retention.ms"


def _head(by_number: dict[int, str], head: tuple[int, str]) -> list[str]:
    number, sha256 = head
    found = by_number.get(number)
    if found is None:
        there = max(by_number, default=-1)
        return [f"dropped: the model's status says that record {number} was written; the topic ends with {there}"] if there < number else []
    return [] if found == sha256 else [f"forked: record {number} is another one than the model's status says"]
