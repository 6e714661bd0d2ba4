"""The runs of the storm over the operator: which blow falls on which call sites of which run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.operator_calls import CRASH, CUT, GARBAGE, STATUSES, Blow, Director, Moment, at
from chaos.operator_scene import OPERATOR, Stage

TWINS = ("random-ids", "edge-triggered")
FREEZE_S = 60.0
CRASHES_S = 1500.0
_TWIN = str(Path(__file__).resolve().parent / "line_twin.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What befalls one run."""

    name: str
    blow: Blow | None = None
    chosen: Callable[[str], int | None] = lambda _site: None
    """Site → at which of its calls the blow falls; None: never."""
    watch: Callable[[Stage], None] = lambda _stage: None
    """What is done to watches, before the operator starts."""
    program: tuple[str, ...] = OPERATOR
    limit_s: float = 480.0


def undisturbed() -> Run:
    """What the others are compared with."""
    return Run(name="undisturbed")


def long_runs(calm: Director, number: int) -> list[Run]:
    """Every kind of blow on every site, at its `number`-th call or its last."""
    sites = list(calm.calls)
    http = [site for site in sites if not site.startswith("Kafka") and not site.endswith("watch")]

    def run(blow: Blow, struck: Mapping[str, int]) -> Run:
        # Each crash costs a start of the operator, and there are as many as sites.
        return Run(name=str(blow), blow=blow, chosen=struck.get, limit_s=CRASHES_S if blow.kind == CRASH else 480.0)

    everywhere = at(sites, calm.calls, number)
    # Crashes take longest, so they come first.
    found = [run(Blow(kind=kind, moment=moment), everywhere) for kind in (CRASH, CUT) for moment in Moment]
    found += [run(Blow(kind=code), at(http, calm.calls, number)) for code in STATUSES]
    found.append(run(Blow(kind=GARBAGE), at([site for site in sites if not site.endswith("watch")], calm.calls, number)))
    return [*found, *_watch_runs()]


def _watch_runs() -> list[Run]:
    """Every kind of blow on every event of every watch."""

    def freeze(stage: Stage) -> None:
        stage.kube_proxy.watches.frozen_until = time.monotonic() + FREEZE_S

    def set_(**values: Any) -> Callable[[Stage], None]:
        def change(stage: Stage) -> None:
            for name, value in values.items():
                setattr(stage.kube_proxy.watches, name, value)

        return change

    return [
        # An event that never comes is made up for when the silent watch is opened anew, 75 s later.
        Run(name="every watch event dropped", watch=set_(dropped=True), limit_s=600),
        Run(name="every watch event twice", watch=set_(copies=2)),
        Run(name="every watch event 2 s late", watch=set_(delay_s=2.0)),
        Run(name=f"watches frozen for {FREEZE_S:.0f} s", watch=freeze, limit_s=600),
    ]


WORST = (
    "Kafka CreateTopics",
    "Kubernetes POST /recommendermodelversions",
    "Kubernetes POST /recommenderrollouts",
    "Kubernetes POST /secrets",
    "Kubernetes PATCH /recommenderrollouts/{name}/status",
    "Ray POST /api/jobs/ (ingest)",
    "Ray POST /api/jobs/ (preflight)",
    "Ray POST /api/jobs/ (train)",
    "Ray PUT /api/serve/applications/",
)
"""Calls that make something: done twice, there would be two."""


def short_runs() -> list[Run]:
    """What hurts most: something is made, and the operator dies before it knows; and every call answered with an error once."""
    crash, error = Blow(kind=CRASH, moment=Moment.UNANSWERED), Blow(kind="503")
    return [
        Run(name=str(crash), blow=crash, chosen=lambda site: 1 if site in WORST else None),
        Run(name=str(error), blow=error, chosen=lambda site: None if "Kafka" in site or site.endswith("watch") else 1),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A broken operator, killed where it hurts it; `caught` says whether the harm is there, `unharmed` that it will not come."""

    run: Run
    caught: Callable[[Stage], bool]
    unharmed: Callable[[Stage], bool]


def twin(name: str) -> Twin:
    """One of `TWINS`."""
    site = "Ray POST /api/jobs/ (train)" if name == "random-ids" else "Kubernetes POST /recommendermodelversions"
    run = Run(
        name=f"broken twin: {name}",
        blow=Blow(kind=CRASH, moment=Moment.UNANSWERED),
        chosen=lambda seen: 1 if seen == site else None,
        program=(_TWIN, name),
    )
    if name == "random-ids":
        return Twin(run=run, caught=lambda stage: _trained(stage) > 1, unharmed=lambda stage: bool(stage.rollouts()))
    return Twin(run=run, caught=_idle_for_long, unharmed=lambda stage: _trained(stage) > 0)


def _trained(stage: Stage) -> int:
    return sum(job.startswith("train-movies-000001-") for job in stage.ray.began)


def _idle_for_long(stage: Stage) -> bool:
    """Whether the operator that came after the crash has looked at Ray's jobs thirty times and begun no training."""
    return stage.keeper.starts > 1 and stage.director.calls["Ray GET /api/jobs/"] > 30 and not _trained(stage)
