"""Learning a form (see `forms.py`) from a value that is known to be an event."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ray_apps.ingest.forms import Form, Slot
from ray_apps.ingest.slots import Rule

# One member of a flat object whose text is plain (see `Texts.plain`), with what follows it: the next one, or the end.
_MEMBER = re.compile(rb' *"([^"]*)" *: *(?:"([^"]*)"|((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)|(true|false|null)) *([,}])')
_NAME, _STRING, _NUMBER, _WORD, _NEXT = range(1, 6)
_WORDS: Mapping[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}
_Span = tuple[int, int, Rule | None, bool]
"""Begin and end of a slot in the value, its rule, and whether it is a number."""


def learn(value: bytes, rules: Mapping[str, Rule], schema: pa.Schema) -> Form | None:
    """Return the form of a value; None when it is not a plain, flat object, or one whose fields are written in another way than their own.

    Args:
        value: one that the exact judge has accepted, of plain text.
        rules: by name, what the event's fields must fit.
        schema: the event's columns.
    """
    members = _members(value)
    names = [member[_NAME].decode() for member in members]
    if not members or len(set(names)) < len(names) or not rules.keys() >= set(schema.names):
        return None
    constants = {name: rule.default for name, rule in rules.items() if name not in names}
    spans: list[_Span] = []
    columns: dict[str, int] = {}
    for name, member in zip(names, members, strict=True):
        rule = rules.get(name)
        if rule is not None and not _as_its_own(member, rule):
            return None
        if member[_WORD]:
            constants |= {name: _WORDS[member[_WORD]]} if rule else {}
            continue
        columns |= {name: len(spans)} if rule else {}
        spans.append((*member.span(_STRING if member[_NUMBER] is None else _NUMBER), rule, member[_NUMBER] is not None))
    return _form(value, spans, schema, columns, constants) if spans else None


def _members(value: bytes) -> list[re.Match[bytes]]:
    """Members of an object; none when the text is another one."""
    at = len(value) - len(value.lstrip(b" ")) + 1
    found: list[re.Match[bytes]] = []
    if value[at - 1 : at] != b"{":
        return found
    while not found or found[-1][_NEXT] == b",":
        member = _MEMBER.match(value, at)
        if member is None:
            return []
        found.append(member)
        at = member.end()
    return [] if value[at:].strip(b" ") else found


def _as_its_own(member: re.Match[bytes], rule: Rule) -> bool:
    """Whether a field is written as what it is: the exact judge may take a number that is written as a text."""
    if member[_WORD]:
        return rule.nullable if member[_WORD] == b"null" else rule.kind is bool
    if member[_NUMBER]:
        return rule.kind is float or (rule.kind is int and b"." not in member[_NUMBER])
    return rule.kind is str


def _form(
    value: bytes,
    spans: Sequence[tuple[int, int, Rule | None, bool]],
    schema: pa.Schema,
    columns: Mapping[str, int],
    constants: dict[str, Any],
) -> Form:
    slots: list[Slot] = []
    done = 0
    for begin, end, rule, is_number in spans:
        mark = value.find(b'"', end)
        slots.append(
            Slot(
                before=value[done:begin],
                rule=rule,
                is_number=is_number,
                quote=None if mark < 0 else value.count(b'"', 0, mark),
                distance=(len(value) if mark < 0 else mark) - end,
            )
        )
        done = end
    return Form(schema=schema, slots=slots, last=value[done:], quotes=value.count(b'"'), columns=columns, constants=constants)
