"""The demo's one-screen report, and the same as JSON."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from recsys_dev.claims import Claims
from recsys_dev.story import RollBack
from recsys_dev.tallies import Latencies
from recsys_dev.topics_seen import TopicSeen
from recsys_dev.traffic import Probe
from recsys_schemas.version_card import Estimate, Evaluation, VersionCard

METRICS = ("hr@10", "hr@20", "ndcg@10", "ndcg@20", "coverage@20")


def comparison(card: VersionCard) -> Table:
    """What a team needs to choose: one row for each model of a version's card, with 95 % intervals."""
    table = Table(
        title=f"{card.version}: {card.users:,} users, {card.items:,} items, {card.interactions:,} interactions; measured on "
        f"{card.test_users:,} users\n({card.split}); ± is the 95 % interval",
        title_style="none",
        title_justify="left",
    )
    table.add_column("model")
    for name in ("train s", "ms/user", "MB", *(metric.upper() for metric in METRICS)):
        table.add_column(name, justify="right")
    for evaluation in card.evaluations:
        table.add_row(*_row(evaluation), style="bold" if evaluation.role == "candidate" else None)
    return table


def _row(evaluation: Evaluation) -> list[str]:
    metrics = [_estimate(evaluation.metrics.get(metric)) for metric in METRICS]
    trained = f"{evaluation.train_seconds:.2f}" if evaluation.role != "champion" else "-"
    size = f"{evaluation.size_bytes / 1e6:.2f}"
    return [f"{evaluation.name}", trained, f"{evaluation.inference_ms_per_user:.2f}", size, *metrics]


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} ±{(estimate.high - estimate.low) / 2:.3f}"


def margin_words(card: VersionCard, metric: str = "ndcg@10") -> str:
    """By how much the candidate beats each baseline, paired by user; a difference that is not shown is called so."""
    told: list[str] = []
    for evaluation in card.evaluations:
        if evaluation.role == "baseline" and (estimate := evaluation.difference.get(metric)) is not None:
            word = "beats" if estimate.low > 0 else "falls behind" if estimate.high < 0 else "is not shown to differ from"
            told.append(f"{word} {evaluation.name}: {estimate.value:+.3f} (95 %: {estimate.low:+.3f} to {estimate.high:+.3f})")
    return f"{card.evaluations[0].name} {'; '.join(told)}" if told else "no baselines"


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that the demo found; filled step by step."""

    audience: str = ""
    card: VersionCard | None = None
    topics: list[TopicSeen] = field(default_factory=list[TopicSeen])
    walk: list[int] = field(default_factory=list[int])
    walk_seconds: float = 0.0
    caught: RollBack | None = None
    users_who_saw_it: int = 0
    users_in_all: int = 0
    requests: int = 0
    good_answers: int = 0
    failed_requests: int = 0
    refused_for_load: int = 0
    """Answers with 429, each asked again when it said; none of them is a failed request by itself."""
    rewards: dict[str, str] = field(default_factory=dict[str, str])
    latencies: Latencies | None = None
    lags_s: Latencies | None = None
    probe: Probe | None = None
    events: int = 0
    urls: dict[str, str] = field(default_factory=dict[str, str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    claims: Claims = field(default_factory=Claims)

    def show(self, console: Console) -> None:
        """Print it as one screen."""
        parts: list[RenderableType] = [comparison(self.card)] if self.card is not None else []
        parts += [Text(line) for line in self.lines()]
        broken = self.claims.broken
        held = len(self.claims.all) - len(broken)
        parts.append(Text(f"Claims   {held} of {len(self.claims.all)} hold", style="bold red" if broken else "bold green"))
        parts += [Text(f"         NOT SO: {claim.name}: {claim.seen}", style="red") for claim in broken]
        console.print(Panel(Group(*parts), title=f"The line, on {self.audience}", expand=False))

    def lines(self) -> list[str]:
        """The story in words."""
        told: list[str] = []
        if self.walk:
            shares = " → ".join(str(share) for share in self.walk)
            told.append(f"Second   promoted in {self.walk_seconds:.0f} s of live traffic: {shares} %")
        if self.caught is not None:
            told.append(
                f"Third    made bad: rolled back {self.caught.seconds_to_roll_back:.1f} s after its first user "
                f"(harm shown after {self.caught.seconds_to_verdict:.1f} s); {self.users_who_saw_it} of {self.users_in_all} users saw it"
            )
            told.append(f"         {self.caught.verdict}")
        if self.requests:
            told.append(f"Traffic  {self.requests:,} requests, {self.good_answers:,} good answers, {self.failed_requests} failed requests,")
            told.append(f"         {self.refused_for_load} refused for load and asked again")
        if self.rewards:
            told.append("Rewards  " + ", ".join(f"{version} {words}" for version, words in self.rewards.items()))
        if self.lags_s is not None:
            told.append(f"Lag      event to snapshot: p50 {self.lags_s.p50:.1f} s, p95 {self.lags_s.p95:.1f} s; {self.events:,} events")
        if self.probe is not None:
            times = self.probe.latencies
            told.append(
                f"Probe    {self.probe.succeeded} of {self.probe.asked} requests by 20 users at once: "
                f"p50 {times.p50:.1f} ms, p95 {times.p95:.1f} ms, p99 {times.p99:.1f} ms"
            )
        told += [f"{name:<8} {url}" for name, url in self.urls.items()]
        return told

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        plain = {
            "audience": self.audience,
            "version_card": self.card.model_dump(mode="json") if self.card is not None else None,
            "topics": [asdict(topic) for topic in self.topics],
            "walk": self.walk,
            "walk_seconds": self.walk_seconds,
            "rolled_back": asdict(self.caught) if self.caught is not None else None,
            "users_who_saw_it": self.users_who_saw_it,
            "users_in_all": self.users_in_all,
            "requests": self.requests,
            "good_answers": self.good_answers,
            "failed_requests": self.failed_requests,
            "refused_for_load": self.refused_for_load,
            "rewards": self.rewards,
            "latencies_ms": asdict(self.latencies) if self.latencies is not None else None,
            "event_to_snapshot_s": asdict(self.lags_s) if self.lags_s is not None else None,
            "probe": asdict(self.probe) if self.probe is not None else None,
            "events": self.events,
            "seconds": self.seconds,
            "claims": [asdict(claim) for claim in self.claims.all],
        }
        file.write_text(json.dumps(plain, indent=2) + "\n")
