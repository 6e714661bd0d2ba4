"""`recsys snapshots ... | versions ...`: look at the snapshots and versions of a store, from anywhere that reaches it.

A STORE is the storageURI (`file:///…` or `s3://…`); credentials, region and endpoint of `s3://` come from the usual `AWS_*`
variables. Ends with 0, with 1 when something is not as it should be, with 2 when it cannot be known.
"""

import argparse
import sys
from collections.abc import Sequence

from confluent_kafka import KafkaException
from deltalake.exceptions import DeltaError
from pydantic import ValidationError

from ray_apps.algorithms.hyperparameters import Unsuitable
from ray_apps.cli.checking import check
from ray_apps.cli.version_words import add_versions, count, run_versions
from ray_apps.cli.views import diff, list_snapshots, show
from ray_apps.stores.objects import StorageError, open_store
from ray_apps.stores.registry import ArtefactRefused
from ray_apps.training.refusals import TrainingRefused
from recsys_schemas.train_job import IngestJob


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return _run(asked)
    except (StorageError, ArtefactRefused, TrainingRefused, Unsuitable, TimeoutError) as error:
        return _refuse(str(error))
    except KafkaException as error:
        return _refuse(f"brokers: a topic cannot be read ({error.args[0]}); check bootstrap_servers and that the brokers run")
    except (OSError, DeltaError) as error:
        words = " ".join(str(error).split())[:300]
        return _refuse(f"storageURI: {asked.store!r} cannot be read ({words}); check that the store runs and that AWS_* are right")


def _refuse(words: str) -> int:
    sys.stderr.write(f"recsys: {words}\n")
    return 2


def _run(asked: argparse.Namespace) -> int:
    store, as_json = open_store(asked.store), asked.output == "json"
    if asked.what == "versions":
        return run_versions(store, asked, as_json=as_json)
    match asked.command:
        case "list":
            return list_snapshots(store, asked.last, as_json=as_json)
        case "show":
            return show(store, asked.sequence, with_files=asked.files, as_json=as_json)
        case "diff":
            return diff(store, asked.older, asked.newer, as_json=as_json)
        case _:
            return check(store, asked.sequence, asked.job, as_json=as_json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recsys", description="Look at what ingest has made of the events, and training of that.")
    parts = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    add_versions(parts.add_parser("versions", help="versions of a store"))
    snapshots = parts.add_parser("snapshots", help="snapshots of a store").add_subparsers(required=True, metavar="COMMAND", dest="command")
    words = {
        "list": "number, time, rows, dead letters and lag of the newest snapshots",
        "show": "tables, offsets and files of a snapshot",
        "verify": "read every file of a snapshot, and compare it with its topics",
        "diff": "rows added per table and partition from one snapshot to a later one",
    }
    commands: dict[str, argparse.ArgumentParser] = {}
    for word, told in words.items():
        commands[word] = snapshots.add_parser(word, help=told, description=told)
        commands[word].add_argument("store", metavar="STORE", help="storageURI: file:///folder or s3://bucket/prefix")
        commands[word].add_argument("-o", "--output", choices=("table", "json"), default="table")
    commands["list"].add_argument("--last", type=count, default=20, metavar="N", help="so many; default 20")
    for word in ("show", "verify"):
        commands[word].add_argument("sequence", nargs="?", type=int, help="which; the newest when not given")
    commands["show"].add_argument("--files", action="store_true", help="list every file")
    commands["verify"].add_argument("--job", type=_job, help="the IngestJob as JSON: compare with its topics too")
    for word in ("older", "newer"):
        commands["diff"].add_argument(word, type=int)
    return parser


def _job(text: str) -> IngestJob:
    try:
        return IngestJob.model_validate_json(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"no IngestJob: {error.errors()[0]['msg']}") from None


if __name__ == "__main__":
    sys.exit(main())
