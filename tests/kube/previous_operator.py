"""The operator as it was at an earlier commit, from this repository's own history: what an upgrade comes from and a rollback goes to."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recsys_dev.errors import Unmet

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "charts" / "recsys-operator" / "files" / "crds"
PREVIOUS = "93bc3becb7c706c80edb12c470fa98db2026cda9"
"""An operator that may be followed and gone back to: it leaves alone what newer ones add, and knows the roles of the default topics."""
TOO_STRICT = "f556a58e425e1d564639671bc1cafc5aa103edb7^1"
"""The last one that refuses a model for a field that it does not know: the broken twin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """An operator's source of an earlier commit."""

    folder: Path

    @property
    def program(self) -> Sequence[str]:
        """What Python runs, in place of `-m recsys_operator`: its own code and its own words, and the packages that are installed."""
        sources = [str(self.folder / member / "src") for member in ("operator", "schemas")]
        words = f"import sys; sys.path[:0] = {sources!r}; from recsys_operator import __main__ as old; "
        return "-c", f"{words}assert old.__file__.startswith({sources[0]!r}); sys.exit(old.main())"


def why_not(commit: str = PREVIOUS) -> str:
    """Why an earlier commit cannot be had here; empty when it can."""
    asked = _git("cat-file", "-e", f"{commit}^{{commit}}")
    if asked.returncode == 0:
        return ""
    shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    return "the clone is shallow" if shallow else asked.stderr.decode(errors="replace").strip() or "no such commit"


def previous(folder: Path, commit: str = PREVIOUS) -> Previous:
    """Write the source of an earlier commit into `folder`.

    Raises:
        Unmet: this is no clone, or one without that commit.
    """
    if reason := why_not(commit):
        raise Unmet(f"commit {commit[:12]}, which the upgrade begins from", reason, "`git fetch --unshallow`, or clone the whole history.")
    folder.mkdir(parents=True)
    archive = _git("archive", commit, "operator", "schemas").stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True, timeout=60)
    return Previous(folder=folder)


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, check=False, timeout=60)
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, b"", str(error).encode())


def next_definitions() -> str:
    """The definitions of a release to come: with defaults and fields in every part of the models that no operator of today has heard of."""
    documents = [yaml.safe_load(path.read_text()) for path in sorted(DEFINITIONS.glob("*.yaml"))]
    for document in documents:
        (version,) = document["spec"]["versions"]
        parts: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]
        parts["spec"]["properties"]["mood"] = {"type": "string", "default": "calm"}
        parts["status"]["properties"]["mood"] = {"type": "string"}
        if "serving" in parts["spec"]["properties"]:
            parts["spec"]["properties"]["serving"]["properties"]["mood"] = {"type": "string", "default": "calm"}
    return yaml.safe_dump_all(documents)


OLD = {"spec": "revisionHistoryLimit", "status": "history"}
"""Fields of a model that the definitions of an earlier release did not have: one with a default, one that every status states."""


def older_definitions() -> str:
    """The definitions of a release before, under an operator that has come without its own."""
    document = yaml.safe_load((DEFINITIONS / "recommendermodels.yaml").read_text())
    (version,) = document["spec"]["versions"]
    for part, name in OLD.items():
        del version["schema"]["openAPIV3Schema"]["properties"][part]["properties"][name]
    return yaml.safe_dump(document)
