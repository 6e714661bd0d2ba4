"""Inputs: of all that a pass has seen, what the decision of a rollout rests on; counts of replicas are added up.

A field that `plan.rollout.judge` or `plan.acting.act` reads and that is missing here shows in `tests/worlds/test_audit.py`: there every
decision of random histories is decided again from its record.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from recsys_operator.plan import shares, steps
from recsys_operator.plan.reports import added, own_app
from recsys_operator.plan.topics import Topics
from recsys_operator.plan.wishes import wish
from recsys_operator.state.observed import AppState, Measured, Observed, RolloutState, Unavailable
from recsys_schemas.audit import Inputs, MeasuredMetric, OtherRollout, OtherVersion, ServedApp
from recsys_schemas.serving_evidence import ArmCounters, MixedCounters, ReplicaReport, ShadowCounters, StratumCounters, stratum_of

_MOST = 20
"""So many earlier rollouts are kept, and as many that were promoted."""


def of(observed: Observed, rollout: RolloutState, topics: Topics) -> Inputs:
    """What a decision of this pass on this rollout rests on."""
    model, status = observed.model.spec, rollout.status
    app, measured = own_app(observed), observed.metrics
    return Inputs(
        now=observed.now,
        topics=str(topics),
        suspend=model.suspend,
        rollout=model.rollout,
        name=rollout.name,
        spec=rollout.spec,
        status=status.model_copy(update={"decisions": []}),
        decided=status.decisions[-1].number + 1 if status.decisions else 0,
        others=_others(observed, rollout),
        versions=_versions(observed, rollout),
        quarantined=observed.model.status.quarantined,
        store_read=not isinstance(observed.manifest, Unavailable),
        ray_read=not isinstance(observed.ray, Unavailable),
        app=None if app is None else _app(app),
        reports=_reports(observed, rollout),
        metrics={name: _metric(each) for name, each in measured.items()},
    )


def _app(app: AppState) -> ServedApp:
    running = list(app.running_replicas)
    return ServedApp(running=running) if app.record is None else ServedApp(running=running, epoch=app.record.epoch, arms=app.record.arms)


def _others(observed: Observed, rollout: RolloutState) -> list[OtherRollout]:
    """The newest ones, and the newest that were promoted: champion, held back, kept loaded and what was asked follow from them."""
    return [
        OtherRollout(
            name=each.name,
            candidate=each.spec.candidate,
            stable=each.spec.stable,
            holdback=each.spec.holdback,
            phase=each.status.phase,
            ended_at=each.status.ended_at,
            winner=each.status.winner,
            left=each.status.left,
            promoted_at=max((one.time for one in each.status.decisions if one.verdict == "Promoted"), default=None),
        )
        for each in _kept(observed, rollout)
    ]


def _kept(observed: Observed, rollout: RolloutState) -> list[RolloutState]:
    before = [each for each in observed.rollouts if each.name != rollout.name]
    promoted = [each for each in before if each.status.phase in shares.PROMOTED][-_MOST:]
    names = {each.name for each in (*before[-_MOST:], *promoted)}
    return [each for each in before if each.name in names]


def _versions(observed: Observed, rollout: RolloutState) -> list[OtherVersion]:
    newer, asked = shares.waiting(observed), wish(observed)
    names = {pin.name for each in _kept(observed, rollout) for pin in (each.spec.candidate, each.lead)}
    names |= {asked.version} if asked else set()
    names |= {newer.name} if newer else set()
    return [
        OtherVersion(
            name=each.name,
            phase=each.status.phase,
            digest=each.status.artifact.digest if each.status.artifact else None,
            card_digest=each.card.digest if each.card else None,
        )
        for each in observed.versions
        if each.name in names
    ]


def _metric(measured: Measured | Unavailable) -> MeasuredMetric:
    if isinstance(measured, Unavailable):
        return MeasuredMetric(unavailable=measured.message)
    return MeasuredMetric(stable=measured.stable, candidate=measured.candidate)


def _reports(observed: Observed, rollout: RolloutState) -> list[ReplicaReport] | None:
    seen, spec = observed.evidence, rollout.spec
    if seen is None or isinstance(seen, Unavailable):
        return None
    candidate, arms = spec.candidate.name, [pin.name for pin in (spec.stable, *spec.tried) if pin]
    slim = [_without_counts(each, frozenset(pin.name for pin in spec.tried)) for each in seen.replicas]
    now = stratum_of(shares.in_force(observed))
    last = stratum_of(shares.at_weight(observed, rollout, steps.weight_at(spec, len(spec.steps) - 1)))
    before = stratum_of({spec.stable.name: 100}) if spec.stable else now
    strata = {last: False, before: False, now: True}
    counts = [{arm: _added_up(seen.replicas, arm, strata, place) for arm in arms} for place in range(len(slim))]
    return [
        report.model_copy(
            update={
                "counters": {arm: found for arm, found in counters.items() if found is not None},
                "shadow": _shadows(seen.replicas, candidate) if place == 0 else {},
                "mixed": _mixed(seen.replicas, candidate, spec.stable.name if spec.stable else "") if place == 0 else {},
            }
        )
        for place, (report, counters) in enumerate(zip(slim, counts, strict=True))
    ]


def _without_counts(report: ReplicaReport, tried: frozenset[str]) -> ReplicaReport:
    return ReplicaReport(
        replica_id=report.replica_id,
        epoch=report.epoch,
        age_seconds=report.age_seconds,
        ready={name: digest for name, digest in report.ready.items() if name in tried},
        refused={name: why for name, why in report.refused.items() if name in tried},
        counters={},
        switch=report.switch,
    )


def _added_up(replicas: Sequence[ReplicaReport], arm: str, strata: dict[str, bool], place: int) -> ArmCounters | None:
    """An arm's counts: those of replicas that count the same things stand in one place, since only these are added up in a weighing."""
    found: dict[str, StratumCounters] = {}
    for name, timed in strata.items():
        there = [each.counters[arm].strata[name] for each in replicas if arm in each.counters and name in each.counters[arm].strata]
        alike: dict[tuple[bool, bool], list[StratumCounters]] = {}
        for each in there:
            alike.setdefault((bool(each.fallbacks), bool(each.empty_lists)), []).append(each)
        sorts = list(alike.items())
        if place < len(sorts):
            (fallbacks, empty), parts = sorts[place]
            found[name] = _stratum(parts, fallbacks=fallbacks, empty=empty, timed=timed)
    return ArmCounters(strata=found) if found else None


def _stratum(parts: Sequence[StratumCounters], *, fallbacks: bool, empty: bool, timed: bool) -> StratumCounters:
    latency: dict[int, list[int]] = {}
    for part in parts if timed else ():
        for place, counts in part.latency.items():
            before = latency.get(place)
            latency[place] = list(counts) if before is None else [a + b for a, b in zip(before, counts, strict=True)]

    def total(field: str) -> list[int]:
        return added(attrgetter(field)(part) for part in parts)

    return StratumCounters(
        requests=total("requests"),
        errors=total("errors"),
        impressions=total("impressions"),
        rewards=total("rewards"),
        fallbacks=total("fallbacks") if fallbacks else [],
        empty_lists=total("empty_lists") if empty else [],
        latency=latency,
    )


def _shadows(replicas: Iterable[ReplicaReport], candidate: str) -> dict[str, ShadowCounters]:
    found = [each.shadow[candidate] for each in replicas if candidate in each.shadow]
    if not found:
        return {}
    whole = ShadowCounters(
        requests=added(each.requests for each in found),
        errors=added(each.errors for each in found),
        dropped=sum(each.dropped for each in found),
        late=sum(each.late for each in found),
        overlap_sum=sum(each.overlap_sum for each in found),
        correlation_sum=sum(each.correlation_sum for each in found),
        correlated=sum(each.correlated for each in found),
        worth_sum=sum(each.worth_sum for each in found),
        given_worth_sum=sum(each.given_worth_sum for each in found),
        latency_ms_sum=sum(each.latency_ms_sum for each in found),
    )
    return {candidate: whole}


def _mixed(replicas: Iterable[ReplicaReport], candidate: str, against: str) -> dict[str, MixedCounters]:
    all_of_it = [each.mixed[candidate] for each in replicas if candidate in each.mixed]
    found = [each for each in all_of_it if each.against == against]
    if not found:
        return {}

    def total(field: str) -> list[int]:
        return added(attrgetter(field)(each) for each in found)

    return {
        candidate: MixedCounters(against=against, answers=total("answers"), wins=total("wins"), losses=total("losses"), ties=total("ties"))
    }
