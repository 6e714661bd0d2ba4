"""The main job on real parts: `make demo`, `make demo DATA=folder`, `KEEP=0` to end by itself.

Exit status: 0 when every claim held, 1 when one did not, 2 when a part could not be had, 130 after Ctrl-C before the end.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recsys_dev import acts, recording, runs
from recsys_dev.audience import SimulatedAudience
from recsys_dev.cache import ensure_kubernetes
from recsys_dev.errors import Unmet, told
from recsys_dev.events import Audience, Event
from recsys_dev.eyes import open_eyes
from recsys_dev.kafka_jars import ensure_jars
from recsys_dev.kubernetes import CommandFailedError
from recsys_dev.line import REPOSITORY, apply_model, install_chart, make_ray_secret, manifest_of, start_parts
from recsys_dev.movielens import RecordedAudience
from recsys_dev.processes import recorded
from recsys_dev.producer import EventProducer
from recsys_dev.report import Report
from recsys_dev.stage import EVENT_TOPICS, MODEL, Stage, announced, short
from recsys_dev.story import Story
from recsys_dev.topics_seen import LagMarks, Topics

RUN_DIR = REPOSITORY / "build" / "run" / "demo"
REPORT_FILE = REPOSITORY / "build" / "reports" / "demo.json"
EXAMPLE = REPOSITORY / "examples" / "movies.yaml"
RECORDED_EXAMPLE = REPOSITORY / "examples" / "movielens.yaml"
FIRST_PART = 0.95
"""The first version is trained once a snapshot has so large a part of the history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asked for."""

    data: Path | None
    keep: bool
    rate: float
    run_dir: Path = RUN_DIR
    report_file: Path = REPORT_FILE


def read_wishes(arguments: Sequence[str] | None = None) -> Wishes:
    """From the command line, else from DATA and KEEP.

    Raises:
        Unmet: KEEP is neither 0 nor 1.
    """
    parser = argparse.ArgumentParser(prog="recsys_dev.demo", description="The whole line on real parts.")
    parser.add_argument("--data", default=os.environ.get("DATA", ""), help="folder in MovieLens' layout; default: a simulated audience")
    parser.add_argument("--keep", default=os.environ.get("KEEP", ""), help="0: end by itself; 1 (default): stay up until Ctrl-C")
    parser.add_argument("--rate", type=float, default=100.0, help="visits per second")
    asked = parser.parse_args(arguments)
    if asked.keep not in {"", "0", "1"}:
        raise Unmet("KEEP", repr(asked.keep), "Give 0 (end by itself) or 1 (stay up), or nothing.")
    return Wishes(data=Path(asked.data).expanduser() if asked.data else None, keep=asked.keep != "0", rate=asked.rate)


def run(wishes: Wishes, console: Console) -> Report:
    """All nine steps; the parts are ended when this returns or raises, after Ctrl-C if they are to be kept."""
    began = time.monotonic()
    # Read first: a wrong folder is told before anything starts.
    audience: Audience = SimulatedAudience(now_ms=time.time_ns() // 1_000_000) if wishes.data is None else RecordedAudience(wishes.data)
    report = Report(audience=audience.name)
    console.print(f"The whole line on real parts, on {audience.name}; about 5 minutes on 2 cores.", highlight=False)
    console.print("The first time 10 to 15 minutes more: Kubernetes is built from source (about 7) and Kafka is fetched.", highlight=False)
    ensure_kubernetes(lambda words: console.print(f"   {words}", markup=False, highlight=False))
    ensure_jars(lambda words: console.print(f"   {words}", markup=False, highlight=False))
    runs.discard(wishes.run_dir)
    runs.claim(wishes.run_dir)
    with ThreadPoolExecutor(1) as pool:
        past = pool.submit(lambda: list(audience.history()))
        try:
            with _stage(wishes, console, audience, past, report) as stage:
                _play(stage, wishes)
                report.seconds["all"] = round(time.monotonic() - began, 1)
                report.write(wishes.report_file)
                assert stage.traffic is not None
                recording.write(wishes.report_file.with_name("demo-answers.parquet"), stage.traffic.tally.answered)
                console.print()
                report.show(console)
                console.print(
                    f"All of it took {report.seconds['all']:.0f} s. As JSON: {short(wishes.report_file)}", highlight=False, soft_wrap=True
                )
                if wishes.keep:
                    _stay(console)
                stage.console.print("Ending all parts (about 10 s).", highlight=False)
        except BaseException:
            console.print(last_words(wishes.run_dir), markup=False, highlight=False, soft_wrap=True)
            raise
        finally:
            runs.stop_all(wishes.run_dir)
    return report


@contextlib.contextmanager
def _stage(wishes: Wishes, console: Console, audience: Audience, past: "Future[list[Event]]", report: Report) -> Generator[Stage]:
    """Steps 1 and 2: everything up, the model applied; all of it ended on the way out."""
    with announced(console, report, 1, "Kubernetes API, three Kafka brokers, Ray, the chart, the operator", 40):
        line = start_parts(wishes.run_dir, lambda words: console.print(f"   {words}", markup=False, highlight=False, soft_wrap=True))
        install_chart(line)
        make_ray_secret(line)
        line.start_operator()
        eyes = open_eyes(line)
    story = Story(eyes=eyes, model=MODEL, tell=lambda words: console.print(f"   {words}", markup=False, highlight=False, soft_wrap=True))
    topics = Topics(line.brokers.bootstrap_servers)
    stage = Stage(
        console=console, line=line, audience=audience, past=past.result(), rate=wishes.rate, eyes=eyes, story=story, topics=topics,
        producer=EventProducer(line.brokers.bootstrap_servers), marks=LagMarks(topics=topics, names=EVENT_TOPICS), report=report,
    )  # fmt: skip
    try:
        with stage.step(2, f"kubectl apply -f {_example(wishes).name}", 1):
            _apply(stage, _example(wishes))
        yield stage
    finally:
        if stage.traffic is not None:
            stage.traffic.stop()
        stage.stop_marking()
        topics.close()
        eyes.close()
        line.stop()


def _example(wishes: Wishes) -> Path:
    return EXAMPLE if wishes.data is None else RECORDED_EXAMPLE


def _apply(stage: Stage, example: Path) -> None:
    """Fill in where this line answers, and how large its history is; apply."""
    manifest = manifest_of(example, stage.line, {"spec.training.initialRecords": int(FIRST_PART * len(stage.past))})
    apply_model(stage.line, manifest)
    stage.tell(f"{example.relative_to(REPOSITORY)} with the addresses of this line. In another terminal:")
    stage.tell(f"{stage.kubectl} get rm -w")


def _play(stage: Stage, wishes: Wishes) -> None:
    """Steps 3 to 9."""
    new_events = 25_000 if wishes.data is None else 20_000
    with stage.step(3, "the operator creates and verifies the topics", 5):
        acts.verify_topics(stage)
    with stage.step(4, f"{len(stage.past):,} events flow; ingest writes snapshots", 20):
        acts.replay_history(stage)
    with stage.step(5, "a Ray Train job trains Popularity, item-item and ALS on one snapshot", 45):
        acts.compare_models(stage)
    with stage.step(6, "the version passes its preflight and serves", 25):
        acts.begin_serving(stage)
    with stage.step(7, "new events: a second version earns 5 → 25 → 50 → 100 % under live traffic", 90):
        acts.promote_second(stage, new_events)
    with stage.step(8, "a third version, made bad on purpose: caught in its canary and rolled back", 75):
        acts.catch_third(stage, new_events)
    with stage.step(9, "every decision is decided again from its record; a probe of 20 × 24 requests; the report", 5):
        acts.verify_decisions(stage)
        acts.sum_up(stage)


def _stay(console: Console) -> None:
    console.print("Everything stays up. Ctrl-C ends it.", highlight=False)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def last_words(run_dir: Path) -> str:
    """The end of each log that tells what went wrong: the operator's, and those of jobs that failed."""
    told = [
        f"--- {child.name}: the end of {child.log}\n{child.last_lines()}"
        for child in recorded(run_dir)
        if child.name == "operator" or not child.is_alive()
    ]
    jobs = sorted((run_dir / "ray").glob("ray/session_*/logs/job-driver-*.log"), key=lambda path: path.stat().st_mtime)
    for log in jobs[-2:]:
        lines = log.read_text(errors="replace").splitlines()[-12:]
        told.append(f"--- the end of {log}\n" + "\n".join(line[:300] for line in lines))
    return "\n".join(told)


def main() -> int:
    """Run the demo; SIGTERM ends it as Ctrl-C does, so that nothing is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    try:
        report = run(read_wishes(), console)
    except CommandFailedError as failed:
        raise Unmet("a command on the cluster", str(failed), "Its words say what to mend.") from failed
    for claim in report.claims.broken:
        print(f"did not hold: {claim.name}: {claim.seen}", file=sys.stderr)
    return 1 if report.claims.broken else 0


if __name__ == "__main__":
    sys.exit(told(main))
