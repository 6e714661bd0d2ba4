"""What can be written into a resource: for each field of its schema the values that are right, at a bound, past it, and nonsense. Pure."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str | int, ...]

ABSENT = object()
"""The field is taken away."""
_HUGE = "x" * 300_000
_STRINGS: Sequence[Any] = ("", "x", "ünï ☃ \u202e\u0000", " leading and trailing ", "line\nbreak", _HUGE, 7, True, ["x"], {"x": 1})
_NUMBERS: Sequence[Any] = (0, -1, 1, 7, 1.5, 2**31, 2**63, -(2**53), 1e308, "7", "NaN", True, [1], {})
_BOOLEANS: Sequence[Any] = (True, False, "true", 1, {})


@dataclass(frozen=True, slots=True)
class Mutation:
    """One field, and what is written there."""

    path: Path
    value: Any

    def of(self, spec: Json) -> Json:
        """The spec with the mutation in it; folders that miss on the way are made."""
        changed = copy.deepcopy(spec)
        at: Any = changed
        for step, following in zip(self.path, self.path[1:], strict=False):
            empty: Any = [] if isinstance(following, int) else {}
            at = _entered(at, step, empty)
        self._write(at)
        return changed

    def _write(self, at: Any) -> None:
        last, place = self.path[-1], at
        if self.value is ABSENT:
            if isinstance(at, dict):
                at.pop(last, None)
            elif isinstance(last, int) and last < len(at):
                del at[last]
        elif isinstance(at, list) and isinstance(last, int) and last >= len(at):
            at.append(self.value)
        else:
            place[last] = self.value

    def __str__(self) -> str:
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        value = "absent" if self.value is ABSENT else repr(self.value)
        return f"spec{where} = {value if len(value) < 80 else f'{value[:60]}... ({len(value)} characters)'}"


def _entered(at: Any, step: str | int, empty: Any) -> Any:
    """What stands at a step, made when it misses or is of another kind."""
    if isinstance(step, int) and step >= len(at):
        at.append(empty)
    elif not isinstance(at[step] if isinstance(step, int) else at.get(step), type(empty)):
        at[step] = empty
    return at[step]


def mutations(schema: Mapping[str, Any], path: Path = ()) -> Iterator[Mutation]:
    """All single mutations of what a structural schema (OpenAPI v3, as a CRD has it) describes."""
    if path:
        yield Mutation(path, ABSENT)
        yield Mutation(path, None)
        yield from (Mutation(path, value) for value in _values(schema))
    match schema.get("type"):
        case "object":
            yield Mutation((*path, "nonsense"), 1)
            for name, inner in schema.get("properties", {}).items():
                yield from mutations(inner, (*path, name))
        case "array":
            yield from mutations(schema["items"], (*path, 0))
        case _:
            return


def _values(schema: Mapping[str, Any]) -> Iterator[Any]:
    match schema.get("type"):
        case "string":
            yield from schema.get("enum", ())
            yield from ("x" * schema[bound] for bound in ("minLength", "maxLength") if bound in schema)
            yield from ("x" * (schema["maxLength"] + 1),) if "maxLength" in schema else ()
            yield from _STRINGS
        case "integer" | "number":
            for bound, past in (("minimum", -1), ("maximum", 1)):
                if bound in schema:
                    yield from (schema[bound], schema[bound] + past)
            yield from _NUMBERS
        case "boolean":
            yield from _BOOLEANS
        case "array":
            yield from ([], {}, "x", [None], [[]], [{}], ["x", "x"])
            if "maxItems" in schema:
                yield [{}] * (schema["maxItems"] + 1)
        case _:
            yield from ({}, [], "x", 7, {"nonsense": {"deep": [{}]}})


def leaves(schema: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    """Every field of a schema."""
    if path:
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from leaves(inner, (*path, name))
    if schema.get("type") == "array":
        yield from leaves(schema["items"], (*path, 0))
