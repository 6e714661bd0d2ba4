"""A rollout as a picture of text: shares as bars, each metric's evidence against its boundary, and the last verdicts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from recsys_operator.world.kube import Json

BAR = 24
_DECISIONS = 5
_GREEN, _RED, _YELLOW, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
_BAD, _GOOD = frozenset({"Worse", "Invalid"}), frozenset({"Better", "NotWorse"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ink:
    """Whether words are coloured."""

    colours: bool

    def __call__(self, colour: str, words: str) -> str:
        """The words in that colour, or as they are."""
        return f"{colour}{words}{_PLAIN}" if self.colours and words else words


def bar(part: float, width: int = BAR) -> str:
    """A bar for a part of 1: full blocks, and dots for the rest.

    >>> bar(0.25, 8)
    '██······'
    """
    full = max(0, min(width, round(part * width)))
    return "█" * full + "·" * (width - full)


def draw(model: Json, rollout: Json | None, now: datetime, *, colours: bool = False, width: int = 100) -> list[str]:
    """The lines of one picture.

    Args:
        model: the RecommenderModel.
        rollout: its newest RecommenderRollout; None when there is none.
        now: when it is looked at.
        colours: whether the terminal shows colours.
        width: of the terminal; lines are cut there.
    """
    ink, seen = Ink(colours=colours), model.get("status", {})
    where = f"{model['metadata']['namespace']}/{model['metadata']['name']}"
    lines = [ink(_BOLD, f"{where}: {seen.get('phase', 'Pending')}") + f"   {now:%H:%M:%S}"]
    lines += [f"{each['type']}: {each['message']}" for each in seen.get("conditions", []) if _speaks(each)]
    if rollout is None:
        return _cut([*lines, "no rollout yet"], width)
    return _cut([*lines, "", *_rollout(rollout, now, ink)], width)


def _speaks(condition: Json) -> bool:
    """Conditions that a person waits for."""
    return (condition["type"] == "Stalled" and condition["status"] == "True") or (
        condition["type"] == "Ready" and condition["status"] != "True"
    )


def _rollout(body: Json, now: datetime, ink: Ink) -> list[str]:
    spec, seen = body["spec"], body.get("status", {})
    steps = spec.get("steps", [])
    held = f", {seen['paused'].lower()}" if seen.get("paused") else ""
    since = f" for {_lasting(now, seen['stepSince'])}" if seen.get("stepSince") else ""
    at = f"step {int(seen.get('step', 0)) + 1} of {len(steps)}" if not seen.get("endedAt") else f"ended {seen['endedAt']}"
    lines = [ink(_BOLD, f"{body['metadata']['name']}: {seen.get('phase', 'Pending')}{held}") + f", {at}{since}"]
    lines += [f"  {role:<9} {name:<24} {bar(share / 100)} {share:>3} %{words}" for role, name, share, words in _shares(spec, seen)]
    lines += [f"  walk      {_walk(steps, int(seen.get('step', 0)), over=bool(seen.get('endedAt')))}", ""]
    lines += _arms(spec["candidate"]["name"], seen.get("evidence", {}), ink)
    if seen.get("message"):
        lines += [f"  {seen['message']}", ""]
    decisions = seen.get("decisions", [])[-_DECISIONS:]
    return [*lines, *(_decision(each, ink) for each in decisions)]


def _shares(spec: Json, seen: Json) -> list[tuple[str, str, int, str]]:
    """Role, version and share of each arm, and what is said of it."""
    weight, stable, left = int(seen.get("weight", 0)), spec.get("stable"), {each["name"] for each in seen.get("left", [])}
    walks = seen.get("phase") in ("Progressing", "Paused")
    beside = [("arm", each["name"], int(each["weight"]) if walks else 0) for each in spec.get("arms", [])]
    tried = [("candidate", spec["candidate"]["name"], weight), *beside]
    if winner := seen.get("winner"):
        tried = [(role, name, weight if name == winner["name"] else 0) for role, name, _ in tried]
    found = [(role, name, 0 if name in left else share, "  left the test" if name in left else "") for role, name, share in tried]
    rest = 100 - sum(share for _, _, share, _ in found)
    return [*found, *([("stable", stable["name"], rest, "")] if stable else [])]


def _arms(candidate: str, evidence: Json, ink: Ink) -> list[str]:
    """The evidence of the candidate, and of a test with several arms that of each."""
    beside: list[Json] = evidence.get("arms", [])
    if not beside:
        return _evidence(evidence, ink)
    first = [f"  {candidate}", *_evidence(evidence, ink)] if evidence.get("shown") else []
    stable = evidence.get("stable", {})
    others = (
        [f"  {each['name']}", *_evidence({"shown": each.get("shown", []), "candidate": each.get("totals", {}), "stable": stable}, ink)]
        for each in beside
    )
    return [*first, *(line for lines in others for line in lines)]


def _walk(steps: Sequence[Json], at: int, *, over: bool) -> str:
    words = [_verb(step) for step in steps]
    return " → ".join([*(f"[{word}]" if number == at and not over else word for number, word in enumerate(words)), "100 %"])


def _verb(step: Json) -> str:
    if "setWeight" in step:
        return f"{step['setWeight']} %"
    if "pause" in step:
        return "approval" if step["pause"].get("approval") else f"{step['pause'].get('seconds')} s"
    return next(iter(step), "?")


def _evidence(evidence: Json, ink: Ink) -> list[str]:
    """Each metric: how far the proof of harm has come to its boundary, and its verdict in words."""
    shown: list[Json] = evidence.get("shown", [])
    lines = [f"  {'metric':<14} {'proof of harm':<{BAR + 1}} {'proof of no harm':<{BAR + 1}} verdict"] if shown else []
    for each in shown:
        verdict = str(each.get("verdict", ""))
        colour = _RED if verdict in _BAD else _GREEN if verdict in _GOOD else _YELLOW
        harm, fine = bar(float(each.get("harm", 0))), bar(float(each.get("notWorse", 0)))
        lines.append(f"  {each['metric']:<14} {ink(_RED, harm)}│ {ink(_GREEN, fine)}│ {ink(colour, verdict)}: {each.get('words', '')}")
    arms = [(name, evidence.get(name, {})) for name in ("candidate", "stable")]
    for name, arm in arms if not shown else ():
        told = f"{arm.get('requests', 0)} requests, {arm.get('errors', 0)} errors"
        lines.append(f"  {name:<10} {told}; {arm.get('impressions', 0)} answers, {arm.get('rewards', 0)} rewarded")
    return [*lines, ""]


def _decision(each: Json, ink: Ink) -> str:
    verdict = each["verdict"]
    colour = _RED if verdict in ("RolledBack", "Aborted") else _GREEN if verdict in ("Promoted", "Confirmed") else _PLAIN
    asked = f" (asked by {each['by']})" if each.get("by") else ""
    return f"  {each['time'][11:19]} {ink(colour, f'{verdict:<12}')} {each['words']}{asked}"


def _lasting(now: datetime, since: str) -> str:
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def _cut(lines: Sequence[str], width: int) -> list[str]:
    """Lines no longer than the terminal: what is coloured has signs that take no place."""
    return [line if len(plain(line)) <= width else f"{_first(line, width - 1)}{_PLAIN if _PLAIN in line else ''}…" for line in lines]


def plain(line: str) -> str:
    """A line without its colours."""
    parts = line.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])


def _first(line: str, count: int) -> str:
    kept, shown, escaped = "", 0, False
    for sign, after in pairwise([*line, ""]):
        escaped = escaped or (sign == "\x1b" and after == "[")
        if not escaped and shown == count:
            break
        kept += sign
        shown += not escaped
        escaped = escaped and sign != "m"
    return kept


def line_of(rollout: Json) -> str:
    """One line for a log: what would be drawn, in short."""
    spec, seen = rollout["spec"], rollout.get("status", {})
    shown = ", ".join(f"{each['metric']} {each['verdict']}" for each in seen.get("evidence", {}).get("shown", []))
    parts = [f"{spec['candidate']['name']} {seen.get('weight', 0)} %", seen.get("phase", "Pending"), shown, seen.get("message", "")]
    return f"{rollout['metadata']['name']}: " + "; ".join(part for part in parts if part)
