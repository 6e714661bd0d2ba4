"""Whether a schema may follow another: producers and consumers of two releases run side by side, so schemas only grow.

`compatible(old, new)` judges two JSON Schemas as pydantic prints them (2020-12, `$defs`). A new optional field is fine; what
an old record may hold must stay readable, and what an old reader needs must stay there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

Schema = dict[str, Any]

LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
EXACT = ("pattern", "format", "multipleOf", "uniqueItems")


class Breach(StrEnum):
    """What a change does to those who use the old schema."""

    REMOVED = "Removed"
    """A field (or what a renamed field was called) is gone: its readers break."""
    NARROWED = "Narrowed"
    """Old records no longer fit."""
    NEWLY_REQUIRED = "NewlyRequired"
    """Old producers do not send it."""
    NO_LONGER_REQUIRED = "NoLongerRequired"
    """Old readers count on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One change that breaks somebody: where, what, and the mend."""

    path: str
    breach: Breach
    words: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.path}: {self.words}"


def compatible(old: Schema, new: Schema) -> list[Violation]:
    """Return what in `new` breaks users of `old`; an empty list means that the new one may be released."""
    return list(_compare(_Node(old, old), _Node(new, new), "", ()))


@dataclass(frozen=True, slots=True)
class _Node:
    """A schema within the document that its references point into."""

    schema: Schema
    root: Schema

    def at(self, schema: Schema) -> "_Node":
        return _Node(schema, self.root).resolved()

    def resolved(self) -> "_Node":
        schema = self.schema
        while "$ref" in schema:
            schema = cast("Schema", self.root["$defs"][str(schema["$ref"]).removeprefix("#/$defs/")]) | {
                word: value for word, value in schema.items() if word != "$ref"
            }
        return _Node(schema, self.root)

    def choices(self) -> dict[str, "_Node"]:
        """Type → schema: `anyOf` taken apart; enums without a type are told by their values."""
        listed = self.schema.get("anyOf", [self.schema])
        nodes = [self.at(choice) for choice in listed]
        return {_type_of(node.schema): node for node in nodes}


def _type_of(schema: Schema) -> str:
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if "type" in schema or not values:
        return str(schema.get("type", "any"))
    return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(type(values[0]), "any")


def _compare(old: _Node, new: _Node, path: str, within: tuple[int, ...]) -> Iterator[Violation]:
    old, new = old.resolved(), new.resolved()
    if id(old.schema.get("properties")) in within:
        return  # a schema that contains itself is compared once
    within = (*within, id(old.schema.get("properties"))) if "properties" in old.schema else within
    after = new.choices()
    for kind, before in old.choices().items():
        now = after.get(kind) or after.get("any") or (after.get("number") if kind == "integer" else None)
        if now is None:
            words = f"{kind} is no longer allowed, only {', '.join(sorted(after))}: keep it, and give the new type a field of its own"
            yield Violation(path=path or ".", breach=Breach.NARROWED, words=words)
            continue
        yield from _narrowed(before.schema, now.schema, path or ".")
        yield from _fields(before, now, path, within)
        if "items" in before.schema:
            if "items" in now.schema:
                yield from _compare(before.at(before.schema["items"]), now.at(now.schema["items"]), f"{path}[]", within)
        elif "items" in now.schema:
            yield Violation(path=f"{path}[]", breach=Breach.NARROWED, words="items now have a type: allow any")
        yield from _values(before, now, path, within)


def _fields(old: _Node, new: _Node, path: str, within: tuple[int, ...]) -> Iterator[Violation]:
    before, after = _properties(old.schema), _properties(new.schema)
    required_before, required_after = set(old.schema.get("required", [])), set(new.schema.get("required", []))
    for name, child in before.items():
        here = f"{path}.{name}"
        if name not in after:
            yield Violation(path=here, breach=Breach.REMOVED, words="removed or renamed: keep it, and mark it deprecated")
            continue
        yield from _compare(old.at(child), new.at(after[name]), here, within)
        if name in required_before - required_after:
            words = "no longer required: old readers count on it; go on sending it"
            yield Violation(path=here, breach=Breach.NO_LONGER_REQUIRED, words=words)
    for name in sorted(required_after - required_before):
        words = "newly required: old producers do not send it; make it optional, or give it a default"
        yield Violation(path=f"{path}.{name}", breach=Breach.NEWLY_REQUIRED, words=words)


def _values(old: _Node, new: _Node, path: str, within: tuple[int, ...]) -> Iterator[Violation]:
    """Maps, and whether unknown fields are let through."""
    before, after = (node.schema.get("additionalProperties", True) for node in (old, new))
    if before == after or after is True:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _compare(old.at(cast("Schema", before)), new.at(cast("Schema", after)), f"{path}.*", within)
    elif before is not False:
        words = "unknown fields were let through and no longer are: old records may hold some"
        yield Violation(path=f"{path}.*", breach=Breach.NARROWED, words=words)


def _narrowed(old: Schema, new: Schema, path: str) -> Iterator[Violation]:
    """Bounds, choices and patterns that refuse what was allowed."""
    for words in _tighter(old, new):
        yield Violation(path=path, breach=Breach.NARROWED, words=f"{words}: old records may not fit; allow what was allowed")


def _tighter(old: Schema, new: Schema) -> Iterator[str]:
    for word in LOWER_BOUNDS:
        if word in new and (word not in old or new[word] > old[word]):
            yield f"{word} rose from {old.get(word, 'none')} to {new[word]}"
    for word in UPPER_BOUNDS:
        if word in new and (word not in old or new[word] < old[word]):
            yield f"{word} fell from {old.get(word, 'none')} to {new[word]}"
    for word in EXACT:
        if word in new and new[word] != old.get(word):
            yield f"{word} changed from {old.get(word, 'none')} to {new[word]}"
    before, after = _choices(old), _choices(new)
    if after is not None and (before is None or before - after):
        gone = "any value" if before is None else ", ".join(sorted(before - after))
        yield f"{gone} is no longer among the choices {', '.join(sorted(after))}"


def _choices(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {repr(schema["const"])}
    return {repr(value) for value in schema["enum"]} if "enum" in schema else None


def _properties(schema: Schema) -> dict[str, Schema]:
    return cast("dict[str, Schema]", schema.get("properties", {}))
