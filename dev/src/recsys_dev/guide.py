"""The commands of a guide, as they are written: what is told to be done is what is run."""

import re
from collections.abc import Mapping
from pathlib import Path

from recsys_dev.line import REPOSITORY

GUIDES = REPOSITORY / "docs" / "guides"
_STEP = re.compile(r"^\*\*(\d+)\. ", re.MULTILINE)


def commands(guide: Path) -> dict[int, str]:
    """Each numbered step of a guide → its indented lines, as one script."""
    _, *parts = _STEP.split(guide.read_text())
    return {int(number): _indented(text.partition("\n## ")[0]) for number, text in zip(parts[::2], parts[1::2], strict=True)}


def _indented(text: str) -> str:
    return "".join(f"{line[4:]}\n" for line in text.splitlines() if line.startswith("    "))


def changed(script: str, instead: Mapping[str, str]) -> str:
    """The script with some of its words replaced, each of which must be there.

    Raises:
        ValueError: one is not: the guide says something else now.
    """
    for old, new in instead.items():
        if old not in script:
            raise ValueError(f"the guide does not say {old!r} any more: {script}")
        script = script.replace(old, new)
    return script
