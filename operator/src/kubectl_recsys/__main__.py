"""`kubectl recsys`: look at models, versions and rollouts, and steer a rollout, with the rights of the kubeconfig's user."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from kubernetes.config import ConfigException, list_kube_config_contexts

from kubectl_recsys.acls import PARTS, print_acls
from kubectl_recsys.audit import show, verify
from kubectl_recsys.backup import backup, bring_back
from kubectl_recsys.differences import differences
from kubectl_recsys.online import asked_of, restore, rewind
from kubectl_recsys.snapshots import snapshots
from kubectl_recsys.steering import STEERS, go_back, steer
from kubectl_recsys.topics import verify_topics
from kubectl_recsys.versions import WORDS, look
from kubectl_recsys.views import explain, status
from kubectl_recsys.watching import watch
from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import Kube, load_configuration, open_kube

Command: TypeAlias = Callable[[Kube, str, str], Awaitable[int]]


class _Commands(Protocol):
    """What argparse gives for sub-commands, under a name that may be spoken."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser: ...  # noqa: A002 - its name there


_VIEWS: dict[str, tuple[Command, str, str]] = {
    "status": (status, "MODEL", "what a model is doing, and what it waits for"),
    "explain": (explain, "ROLLOUT", "every verdict of a rollout, with its numbers"),
    "backup": (backup, "MODEL", "print a model, its versions and rollouts as one document, for `restore`"),
    "restore": (bring_back, "FILE", "make a model and all that it owned again from a backup (- for standard input)"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 when something is not as it should be, 2 when it cannot be known."""
    asked = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(_command(asked), asked.namespace or _namespace(), asked.name))
    except WorldError as error:
        sys.stderr.write(f"kubectl recsys: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _command(asked: argparse.Namespace) -> Command:
    """The command, made of what was asked where it takes more than a name."""
    return asked.made_of(asked) if "made_of" in asked else asked.command


def _snapshots(asked: argparse.Namespace) -> Command:
    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await snapshots(kube, namespace, name, asked.word, asked.more)

    return command


def _versions(asked: argparse.Namespace) -> Command:
    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await look(kube, namespace, name, asked.more)

    return command


_SNAPSHOTS = {
    "list": "number, time, rows, dead letters and lag of the newest snapshots",
    "show": "tables, offsets and files of a snapshot: MODEL [SEQUENCE]",
    "verify": "read every file of a snapshot, and compare it with its topics: MODEL [SEQUENCE]",
    "diff": "rows added per table and partition: MODEL OLDER NEWER",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl recsys", description="Look at recommenders, and steer their rollouts.")
    parser.add_argument("-n", "--namespace", help="default: the kubeconfig's")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for word, (command, what, words) in _VIEWS.items():
        _add(commands, word, words, what, command)
    _add_diff(commands)
    _add_watch(commands)
    _add_steering(commands)
    _add_versions(commands)
    _add_going_back(commands)
    _add_online(commands)
    topics = commands.add_parser("topics", help="a model's topics on the brokers").add_subparsers(required=True, metavar="COMMAND")
    _add(topics, "verify", "compare partitions, replicas and in-sync replicas with the spec", "MODEL", verify_topics)
    _add_acls(topics)
    about = "the audit topic: every decision with all that it was made from, in a chain of hashes"
    records = commands.add_parser("audit", help=about, description=about).add_subparsers(required=True, metavar="COMMAND")
    _add(records, "verify", "check the chain, and decide each verdict again from its record; 1 when anything differs", "MODEL", verify)
    _add(records, "show", "the decisions that are recorded, oldest first", "MODEL", show)
    parts = commands.add_parser("snapshots", help="a model's snapshots").add_subparsers(required=True, metavar="COMMAND", dest="word")
    for word, told in _SNAPSHOTS.items():
        one = parts.add_parser(word, help=told, description=f"{told}; what follows MODEL goes to the tool `recsys`, as does -h")
        one.add_argument("name", metavar="MODEL")
        one.add_argument("more", nargs=argparse.REMAINDER, metavar="...", help="such as -o json")
        one.set_defaults(made_of=_snapshots)
    return parser


def _add(commands: _Commands, word: str, words: str, what: str, command: Command) -> None:
    one = commands.add_parser(word, help=words, description=words)
    one.add_argument("name", metavar=what)
    one.set_defaults(command=command)


def _add_versions(commands: _Commands) -> None:
    words = "what was trained, measured and decided; and what the store has of it"
    told = "\n".join(f"  versions {word:<10} {each}" for word, each in WORDS.items())
    one = commands.add_parser("versions", help=words, description=f"{words}; `versions MODEL` alone lists its objects\n{told}")
    one.formatter_class = argparse.RawDescriptionHelpFormatter
    one.add_argument("name", metavar="[WORD] MODEL")
    one.add_argument("more", nargs=argparse.REMAINDER, metavar="...", help="goes to the tool `recsys`, such as -o json")
    one.set_defaults(made_of=_versions)


def _add_online(commands: _Commands) -> None:
    about = "what answers know of the last events"
    parts = commands.add_parser("online", help=about, description=about).add_subparsers(required=True, metavar="COMMAND")
    words = "leave the records since a moment or an offset out of what answers know: a bad hour, undone"
    one = parts.add_parser("rewind", help=words, description=f"{words}: adds to spec.serving.online.skip")
    one.add_argument("name", metavar="MODEL")
    one.add_argument("--to", required=True, metavar="WHEN", help="a time (2026-11-30T09:00:00Z), how long ago (15m), or an offset (1204)")
    one.add_argument("--until", metavar="WHEN", help="where the bad records end; default: now")
    one.add_argument("--topic", help="default: all topics of events")
    one.add_argument("--partition", type=int, help="default: all of them")
    one.set_defaults(made_of=_rewinding)
    _add(parts, "restore", "let answers know again what was left out", "MODEL", restore)


def _rewinding(asked: argparse.Namespace) -> Command:
    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await rewind(kube, namespace, name, asked_of(asked, datetime.now(UTC)))

    return command


def _add_going_back(commands: _Commands) -> None:
    words = "give all users a version back that served before, and pin it"
    one = commands.add_parser("rollback", help=words, description=f"{words}: sets spec.rollout.rollbackTo")
    one.add_argument("name", metavar="MODEL")
    one.add_argument("version", metavar="VERSION")
    one.set_defaults(made_of=_going_back)
    words = "let candidates replace what serves again, after a rollback"
    one = commands.add_parser("unpin", help=words, description=f"{words}: removes spec.rollout.rollbackTo")
    one.add_argument("name", metavar="MODEL")
    one.set_defaults(made_of=_going_back, version=None)


def _going_back(asked: argparse.Namespace) -> Command:
    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await go_back(kube, namespace, name, asked.version)

    return command


def _add_acls(topics: _Commands) -> None:
    words = "list what the brokers must allow: the least that operator, ingest and serving need"
    one = topics.add_parser("acls", help=words, description=words)
    one.add_argument("name", metavar="MODEL")
    one.add_argument("-o", "--output", choices=("table", "commands"), default="table", help="commands: lines for kafka-acls.sh")
    one.add_argument("--principal", default="User:recsys", help="whom spec.kafka.security.credentialsSecretRef names; default: User:recsys")
    for part in PARTS:
        one.add_argument(f"--{part}-principal", help=f"of {part}, where it has credentials of its own")
    one.set_defaults(made_of=_acls)


def _acls(asked: argparse.Namespace) -> Command:
    principals = {part: getattr(asked, f"{part}_principal") or asked.principal for part in PARTS}

    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await print_acls(kube, namespace, name, principals=principals, output=asked.output)

    return command


def _add_diff(commands: _Commands) -> None:
    words = "in what two versions and their rollouts differ: spec, measured numbers, evidence; 0 when in nothing, else 1"
    one = commands.add_parser("diff", help=words, description=words)
    one.add_argument("name", metavar="OLDER", help="a version or a rollout")
    one.add_argument("newer", metavar="NEWER")
    one.set_defaults(made_of=_comparing)


def _comparing(asked: argparse.Namespace) -> Command:
    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await differences(kube, namespace, name, asked.newer)

    return command


def _add_watch(commands: _Commands) -> None:
    words = "draw a model's rollout live: shares, evidence against its boundaries, verdicts"
    one = commands.add_parser("watch", help=words, description=f"{words}; without a terminal, a line for each change")
    one.add_argument("name", metavar="MODEL")
    one.add_argument("--until-ended", action="store_true", help="return when it has ended: 0 when it was promoted, else 1")
    one.set_defaults(made_of=_watching)


def _watching(asked: argparse.Namespace) -> Command:
    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await watch(kube, namespace, name, until_ended=asked.until_ended)

    return command


def _add_steering(commands: _Commands) -> None:
    for word in ("pause", "resume", "approve", "abort"):
        _add_asking(commands, word, STEERS[word].help)
    far = _add_asking(commands, "promote", "leave a step, or all that are left; a failing candidate is still rolled back")
    each = far.add_mutually_exclusive_group(required=True)
    for word in ("next", "full"):
        each.add_argument(f"--{word}", dest="far", action="store_const", const=word, help=STEERS[f"promote --{word}"].help)
    far.add_argument("--arm", metavar="VERSION", help="of a test with several arms, which one is taken; default: the candidate")


def _add_asking(commands: _Commands, word: str, words: str) -> argparse.ArgumentParser:
    one = commands.add_parser(word, help=words, description=words)
    one.add_argument("name", metavar="ROLLOUT")
    one.add_argument("--reason", default="", help="why; decisions carry it with your name")
    one.set_defaults(made_of=_steering, word=word)
    return one


def _steering(asked: argparse.Namespace) -> Command:
    word = f"promote --{asked.far}" if asked.word == "promote" else asked.word

    async def command(kube: Kube, namespace: str, name: str) -> int:
        return await steer(
            kube, namespace, name, word, {"reason": asked.reason} | ({"arm": asked.arm} if getattr(asked, "arm", None) else {})
        )

    return command


def _namespace() -> str:
    try:
        _, active = list_kube_config_contexts()
    except ConfigException:
        return "default"
    return active["context"].get("namespace", "default")


async def _run(command: Command, namespace: str, name: str) -> int:
    kube = open_kube(load_configuration())
    try:
        return await command(kube, namespace, name)
    finally:
        await kube.close()


if __name__ == "__main__":
    sys.exit(main())
