"""The part of the Dockerfile language that our images use, read strictly: what is not known here is refused, never passed over."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recsys_dev.errors import Unmet

WORDS = frozenset({"FROM", "ARG", "ENV", "LABEL", "RUN", "COPY", "WORKDIR", "USER", "CMD"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FLAG = re.compile(r"--[a-z-]+=\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its word, its `--flags`, and what follows."""

    word: str
    flags: tuple[str, ...]
    value: str
    line: int

    def flag(self, name: str) -> str | None:
        """Return the value of a flag that may be given once."""
        return next((flag.partition("=")[2] for flag in self.flags if flag.startswith(f"--{name}=")), None)

    def mounts(self) -> list[dict[str, str]]:
        """Return what each `--mount` says, as a mapping."""
        said = [flag.partition("=")[2] for flag in self.flags if flag.startswith("--mount=")]
        return [dict(part.split("=", 1) for part in mount.split(",")) for mount in said]


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage: the image or stage that it begins from, and its instructions."""

    name: str
    origin: str
    instructions: list[Instruction] = field(default_factory=list[Instruction])


def read(file: Path) -> list[Stage]:
    """Read a Dockerfile; the last stage is the image.

    Raises:
        Unmet: an instruction that is not known here, with its line.
    """
    stages: list[Stage] = []
    for instruction in _instructions(file):
        if instruction.word == "FROM":
            origin, _, name = instruction.value.partition(" AS ")
            stages.append(Stage(name=name or "image", origin=origin))
        elif not stages:
            raise _unknown(file, instruction, "stands before the first FROM")
        else:
            stages[-1].instructions.append(instruction)
    if not stages:
        raise Unmet(f"{file}", "has no FROM", "Begin it with the image that it builds on.")
    return stages


def _instructions(file: Path) -> list[Instruction]:
    found: list[Instruction] = []
    pending, began = "", 0
    for number, raw in enumerate(file.read_text().splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        began = began if pending else number
        pending += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        found.append(_instruction(file, pending, began))
        pending = ""
    return found


def _instruction(file: Path, text: str, line: int) -> Instruction:
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    flags: list[str] = []
    while match := _FLAG.match(rest):
        flags.append(match.group())
        rest = rest[match.end() :].strip()
    instruction = Instruction(word=word, flags=tuple(flags), value=rest, line=line)
    if word not in WORDS:
        raise _unknown(file, instruction, f"is not one of {', '.join(sorted(WORDS))}")
    return instruction


def _unknown(file: Path, instruction: Instruction, why: str) -> Unmet:
    return Unmet(f"{file}, line {instruction.line}", f"{instruction.word} {why}", "Write it with instructions that both builders know.")


def filled(text: str, values: Mapping[str, str]) -> str:
    """Fill in `${NAME}`; a name without a value becomes empty, as a shell does it."""
    return _VARIABLE.sub(lambda match: values.get(match.group(1), ""), text)


def pairs(text: str) -> dict[str, str]:
    """Read `A=1 B="two words"` of ENV and LABEL."""
    return dict(word.split("=", 1) for word in shlex.split(text))


def words(text: str) -> list[str]:
    """Read the JSON form of CMD."""
    return list(map(str, json.loads(text)))
