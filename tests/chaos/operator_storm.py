"""Blows to every call of the operator: the end is the same as without them, and each side effect is had once.

    python tests/chaos/operator_storm.py [--short] [--twins] [--only WORDS] [--number N]

An undisturbed run says which calls there are: method and path template for the API server, Ray and Serve, the request's name for
Kafka. Then each run deals one kind of blow to each of these call sites once, and its end is compared with the undisturbed one's. With
--short the blows that hurt most fall on calls that change something, all runs side by side; with --twins broken operators are run, and
each must be caught. Ends with 0 when every claim holds, and prints which sites were hit.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

from chaos.operator_calls import Director, changes
from chaos.operator_runs import TWINS, Run, Twin, long_runs, short_runs, twin, undisturbed
from chaos.operator_scene import MODEL, Parts, Stage, apply_model, effects, left_behind, open_parts, open_stage, wait_for
from recsys_dev import runs
from recsys_dev.claims import Claims
from recsys_dev.figures import tell
from recsys_dev.line import api_path
from recsys_dev.processes import stop_all

T = TypeVar("T")
HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "build" / "run" / "tests"
LONG_STEPS: list[dict[str, Any]] = [{"setWeight": 10}, {"setWeight": 50}]
SHORT_STEPS: list[dict[str, Any]] = [{"setWeight": 50}]
BAD = frozenset({"movies-000003"})
OVER = frozenset({"Successful", "RolledBack", "Aborted"})
TWIN_S = 240.0
LANES = 4
"""Long runs side by side."""
TWIN_TRAIN_S = 2 * TWIN_S
"""A training job is still under way when the operator that was killed is back, however long that takes."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was found at the end of a run."""

    run: Run
    director: Director
    seconds: float = 0.0
    end: dict[str, Any] = field(default_factory=dict[str, Any])
    wrong: list[str] = field(default_factory=list[str])
    starts: int = 0
    killed: int = 0
    watch_events: int = 0


def play(parts: Parts, number: int, run: Run, *, short: bool) -> Outcome:
    """The life of a model under the blows of a run: versions come, are promoted or sent back, a person goes back, the model goes."""
    director = Director(blow=run.blow, chosen=run.chosen)
    stage = open_stage(parts, f"storm-{number:03d}", director, program=run.program, bad=BAD)
    began, outcome = time.monotonic(), Outcome(run=run, director=director)
    try:
        run.watch(stage)
        stage.keeper.start()
        live(stage, run, short=short)
        outcome.end = effects(stage)
        parts.cluster.kubectl("delete", "recommendermodel", MODEL, "--namespace", stage.name, "--wait=false")
        wait_for(lambda: parts.get(api_path(stage.name, "recommendermodels", MODEL)) is None, "the model's end", run.limit_s)
        wait_for(lambda: not left_behind(stage), "the end of all that the model owned", run.limit_s)
    except TimeoutError as late:
        outcome.wrong.append(f"{late}; {_said(stage)}")
    finally:
        stage.close()
        outcome.seconds, outcome.starts = time.monotonic() - began, stage.keeper.starts
        outcome.killed = len(stage.keeper.killed)
        outcome.watch_events = stage.kube_proxy.watches.touched
    outcome.wrong += shares_wrong(stage)
    return outcome


def live(stage: Stage, run: Run, *, short: bool) -> None:
    """Until the model is at rest."""

    def ends(rollout: str, phase: str) -> None:
        wait_for(lambda: stage.phase_of(rollout) in OVER, f"the end of rollout {rollout}", run.limit_s)
        seen = stage.phase_of(rollout)
        if seen != phase:
            raise TimeoutError(f"rollout {rollout} came to {seen}, not {phase}")

    apply_model(stage, SHORT_STEPS if short else LONG_STEPS)
    stage.ray.rows = 200
    ends("movies-000001", "Successful")
    for number, phase in ((2, "Successful"), *(() if short else ((3, "RolledBack"),))):
        stage.ray.rows += 200
        stage.parts.loop.loop.call_soon_threadsafe(stage.ray.publish)
        ends(f"movies-00000{number}", phase)
    if not short:
        stage.patch({"rollout": {"rollbackTo": "movies-000001"}})
        ends("movies-000001-again-1", "Successful")
        stage.patch({"rollout": {"rollbackTo": None}})
    wait_for(lambda: _rests(stage, rollouts=2 if short else 4), "rest", run.limit_s)


def _rests(stage: Stage, *, rollouts: int) -> bool:
    status = stage.look()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))
    idle = any(each["type"] == "Progressing" and each["reason"] == "Idle" for each in status.get("conditions", []))
    return ready and idle and status.get("phase") == "Serving" and len(status.get("history", [])) == rollouts


def _said(stage: Stage) -> str:
    conditions = stage.look().get("conditions", [])
    return "; ".join(f"{each['type']}={each['status']} {each['reason']}: {each['message'][:200]}" for each in conditions)


def shares_wrong(stage: Stage) -> list[str]:
    """What broke an invariant at any time of the run."""
    odd = [str(arms) for arms in stage.ray.walks if sum(share for _, share in arms) not in (0, 100)]
    falls = [str(pair) for pair in zip(stage.ray.epochs, stage.ray.epochs[1:], strict=False) if pair[1] < pair[0]]
    twice = sorted(each for each in set(stage.ray.began) if stage.ray.began.count(each) > 1)
    return [
        *(f"I4: shares do not sum to 100: {each}" for each in odd),
        *(f"an epoch fell: {each}" for each in falls),
        *(f"a job began twice: {each}" for each in twice),
    ]


def differences(calm: Mapping[str, Any], end: Mapping[str, Any]) -> list[str]:
    """Where the end of a run differs from the undisturbed one."""
    was, now = json.loads(json.dumps(calm)), json.loads(json.dumps(end))
    return [f"{key}: {now.get(key)} instead of {was[key]}" for key in was if was[key] != now.get(key)]


def try_twin(parts: Parts, number: int, name: str) -> bool:
    """Run a broken operator; whether the harm that it does was seen."""
    broken: Twin = twin(name)
    director = Director(blow=broken.run.blow, chosen=broken.run.chosen)
    stage = open_stage(parts, f"storm-{number:03d}", director, program=broken.run.program, bad=BAD)
    stage.ray.train_s = TWIN_TRAIN_S
    try:
        stage.keeper.start()
        apply_model(stage, SHORT_STEPS)
        stage.ray.rows = 200
        wait_for(lambda: broken.caught(stage) or broken.unharmed(stage), f"harm done by the twin {name}", TWIN_S)
        return broken.caught(stage)
    finally:
        stage.close()


def storm(parts: Parts, asked: argparse.Namespace, claims: Claims) -> None:
    """All runs, each compared with the undisturbed one."""
    if asked.short:
        with ThreadPoolExecutor(4) as pool:
            twins = {name: pool.submit(try_twin, parts, 100, name) for name in TWINS[:1] if asked.twins}
            both = [pool.submit(play, parts, number, run, short=True) for number, run in enumerate([undisturbed(), *short_runs()])]
            calm, *done = [each.result() for each in both]
            caught = {name: each.result() for name, each in twins.items()}
        _judge(claims, calm, [each for each in done if asked.only in each.run.name])
    else:
        calm = play(parts, 0, undisturbed(), short=False)
        runs_ = [run for run in (long_runs(calm.director, asked.number) if calm.end else ()) if asked.only in run.name]
        with lanes(parts) as in_a_lane, ThreadPoolExecutor(LANES) as pool:
            both = [pool.submit(in_a_lane, lambda lane, at=at: _told(play(lane, *at, short=False), calm)) for at in enumerate(runs_, 1)]
            twins = {
                name: pool.submit(in_a_lane, lambda lane, at=(100 + number, name): try_twin(lane, *at))
                for number, name in enumerate(TWINS if asked.twins else ())
            }
            done, caught = [each.result() for each in both], {name: each.result() for name, each in twins.items()}
        _judge(claims, calm, done)
    for name, is_caught in caught.items():
        claims.check(f"broken twin caught: {name}", is_caught, "caught" if is_caught else "it did no harm that was seen")


@contextmanager
def lanes(parts: Parts) -> Generator[Callable[[Callable[[Parts], T]], T]]:
    """Runs side by side, as many as there are brokers: most of a run is waiting."""
    others = [parts.beside(number) for number in range(1, LANES)]
    free: Queue[Parts] = Queue()
    for lane in (parts, *others):
        free.put(lane)

    def in_a_lane(work: Callable[[Parts], T]) -> T:
        lane = free.get()
        try:
            return work(lane)
        finally:
            free.put(lane)

    try:
        yield in_a_lane
    finally:
        for lane in others:
            lane.stop_broker()


def _told(done: Outcome, calm: Outcome) -> Outcome:
    wrong = done.wrong + (differences(calm.end, done.end) if done.end else [])
    _print(f"{done.run.name}: {done.seconds:.0f} s, {len(done.director.hit)} sites hit; {'; '.join(wrong) or 'the same end'}")
    return done


def _judge(claims: Claims, calm: Outcome, done: Iterable[Outcome]) -> None:
    claims.check("the undisturbed run comes to its end", not calm.wrong, "; ".join(calm.wrong) or f"{calm.seconds:.0f} s")
    outcomes = list(done)
    for each in outcomes:
        wrong = each.wrong + (differences(calm.end, each.end) if each.end else [])
        claims.check(f"{each.run.name}: the end is the undisturbed one's", not wrong, "; ".join(wrong) or "equal")
    tell("chaos-operator", "operator", {each.run.name: _row(each, calm) for each in [calm, *outcomes]})
    _tell_sites(calm.director, outcomes)


def _row(done: Outcome, calm: Outcome) -> dict[str, Any]:
    wanted = {site for site in calm.director.calls if done.run.chosen(site) is not None}
    return {
        "sites": len(wanted),
        "hit": len(done.director.hit),
        "starts": done.starts,
        "killed": done.killed,
        "watch events touched": done.watch_events,
        "seconds": round(done.seconds),
        "not hit": ", ".join(sorted(wanted - set(done.director.hit))),
    }


def _tell_sites(calm: Director, outcomes: Iterable[Outcome]) -> None:
    """Each call site of the undisturbed run: how often it was called there, and by how many runs it was hit."""
    done = list(outcomes)
    sites = {
        site: {"calls": calls, "runs that hit it": sum(site in each.director.hit for each in done)}
        for site, calls in sorted(calm.calls.items())
    }
    tell("chaos-operator", "operator: call sites", sites)
    hit, changing = [site for site, row in sites.items() if row["runs that hit it"]], [site for site in sites if changes(site)]
    _print(
        f"{len(hit)} of {len(sites)} call sites hit at least once, "
        f"of those that change something {len(set(hit) & set(changing))} of {len(changing)}"
    )


def _print(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the two worst kinds of blow, in about a minute")
    parser.add_argument("--twins", action="store_true", help="run broken operators too; each must be caught")
    parser.add_argument("--only", default="", help="runs whose name has these words")
    parser.add_argument("--number", type=int, default=2, help="each site is struck at its N-th call")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder, claims, began = runs.claim(RUNS / f"chaos-operator-{os.getpid()}"), Claims(), time.monotonic()
    try:
        parts = open_parts(folder)
        try:
            storm(parts, asked, claims)
        finally:
            parts.stop()
    finally:
        stop_all(folder)
    tell("chaos-operator", "operator: claims", claims.told(most=400))
    _print(f"{len(claims.all)} claims, {len(claims.broken)} broken, {time.monotonic() - began:.0f} s")
    if not claims.broken:
        runs.discard(folder)
    return 1 if claims.broken else 0


if __name__ == "__main__":
    sys.exit(main())
