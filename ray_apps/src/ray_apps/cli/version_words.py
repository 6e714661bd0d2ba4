"""The words of `recsys versions`, and what each calls."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from ray_apps.cli.reproducing import reproduce
from ray_apps.cli.versions import diff, list_versions, report, show
from ray_apps.stores.objects import Store
from recsys_schemas.v1alpha1.version import VersionStatus

_WORDS = {
    "list": "name, time, algorithm, snapshot, NDCG@10 and digest of the newest versions",
    "show": "the card of a version: data, libraries, code, metrics with intervals, files",
    "diff": "in what a version differs from an older one",
    "report": "write a version's page for people, made anew from its card and its verified arrays",
    "reproduce": "make a version again from its snapshot, by its card alone, and compare the bytes",
}


def add_versions(parser: argparse.ArgumentParser) -> None:
    """Add the words to the parser of `recsys versions`."""
    words = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands: dict[str, argparse.ArgumentParser] = {}
    for word, told in _WORDS.items():
        one = commands[word] = words.add_parser(word, help=told, description=told)
        one.add_argument("--storage", dest="store", metavar="URI", required=True, help="storageURI: file:///folder or s3://bucket/prefix")
        one.add_argument("-o", "--output", choices=("table", "json"), default="table")
    commands["list"].add_argument("--last", type=count, default=20, metavar="N", help="so many; default 20")
    for word in ("show", "report", "reproduce"):
        commands[word].add_argument("name", metavar="NAME", help="such as movies-000042")
    for word in ("older", "newer"):
        commands["diff"].add_argument(word, metavar=word.upper())
    commands["show"].add_argument("--status", type=_status, help="the version's status as JSON: shows phase and gates too")
    commands["report"].add_argument("--to", type=Path, metavar="FILE", help="default: NAME.html in this folder")
    commands["reproduce"].add_argument("--keep", type=Path, metavar="FOLDER", help="where the arrays stay; else they are removed")
    commands["reproduce"].add_argument("--metrics", action="store_true", help="measure again too, and compare (takes longer)")


def run_versions(store: Store, asked: argparse.Namespace, *, as_json: bool) -> int:
    """Run one word; returns the exit status.

    Raises:
        StorageError: version or snapshot are not there.
        TrainingRefused: a version cannot be made again.
    """
    match asked.command:
        case "list":
            return list_versions(store, asked.last, as_json=as_json)
        case "show":
            return show(store, asked.name, asked.status, as_json=as_json)
        case "report":
            return report(store, asked.name, asked.to or Path(f"{asked.name}.html"), as_json=as_json)
        case "diff":
            return diff(store, asked.older, asked.newer, as_json=as_json)
        case _:
            return reproduce(store, asked.name, asked.keep, metrics=asked.metrics, as_json=as_json)


def count(text: str) -> int:
    """A number from 1 on.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _status(text: str) -> VersionStatus:
    try:
        return VersionStatus.model_validate_json(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"no status of a version: {error.errors()[0]['msg']}") from None
