"""The page itself: sections of plots and tables, made of elements, so that nothing a card says can become markup."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from ray_apps.reports.exposure import TENTHS, Exposure
from ray_apps.reports.plots import Bar, columns, rows
from ray_apps.reports.plots import lines as drawn
from ray_apps.reports.style import STYLE
from recsys_schemas.version_card import Estimate, Evaluation, VersionCard

FIRST = ("ndcg@10", "hr@10", "ndcg@20", "hr@20", "recall@10", "coverage@20")
"""Metrics that are plotted first; the others follow by name."""
MOST_PLOTS = 12
TABLE = ("hr@10", "hr@20", "ndcg@10", "ndcg@20")
_SECURITY = "default-src 'none'; style-src 'unsafe-inline'"


def page(card: VersionCard, exposure: Exposure | None = None) -> str:
    """The whole page as HTML; the same card and exposure give the same text."""
    html = Element("html", {"lang": "en"})
    head = SubElement(html, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _SECURITY})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "title").text = f"{card.version}: model card"
    SubElement(head, "style").text = STYLE
    body = SubElement(SubElement(html, "body"), "main")
    for part in (_top, _models, _curve, _metrics, _differences, _slices):
        part(body, card)
    if exposure is not None:
        _exposure(body, card, exposure)
    for part in (_times, _data, _made_with, _files):
        part(body, card)
    return "<!doctype html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _say(parent: Element, tag: str, words: str, **more: str) -> Element:
    element = SubElement(parent, tag, more)
    element.text = words
    return element


def _table(parent: Element, heads: Sequence[str], lines: Iterable[Sequence[object]], *, numbers: bool = False) -> None:
    frame = SubElement(SubElement(parent, "div", {"class": "scroll"}), "table", {"class": "numbers"} if numbers else {})
    top = SubElement(SubElement(frame, "thead"), "tr")
    for head in heads:
        _say(top, "th", head, scope="col")
    body = SubElement(frame, "tbody")
    for line in lines:
        row = SubElement(body, "tr")
        for place, cell in enumerate(line):
            _say(row, "th" if place == 0 else "td", "–" if cell is None or cell == "" else str(cell))


def _section(body: Element, title: str, words: str = "") -> Element:
    section = SubElement(body, "section")
    _say(section, "h2", title)
    if words:
        _say(section, "p", words)
    return section


def _figure(parent: Element, caption: str, plot: Element) -> None:
    figure = SubElement(parent, "figure")
    _say(figure, "figcaption", caption)
    figure.append(plot)


def _top(body: Element, card: VersionCard) -> None:
    header = SubElement(body, "header")
    _say(header, "p", card.model, **{"class": "over"})
    _say(header, "h1", card.version)
    made = card.created_at.isoformat(timespec="seconds")
    _say(header, "p", f"{card.algorithm}, made at {made} from snapshot {card.snapshot.sequence}; parent: {card.parent or 'none'}.")
    _say(header, "p", card.digest, **{"class": "digest"})


def _title(each: Evaluation) -> str:
    return each.name if each.role == "baseline" else f"{each.name} ({each.role})"


def _estimate(e: Estimate | None, sign: str = "") -> str:
    return f"{e.value:{sign}.3f} [{e.low:{sign}.3f}, {e.high:{sign}.3f}]" if e else ""


def _models(body: Element, card: VersionCard) -> None:
    words = (
        f"Measured on {card.test_users:,} users, held out: {card.split}. In brackets: 95 % interval. Train s: of the measured fit; "
        "ms/user: CPU time for one user's list. A champion is asked only about what it has not seen, so it may rest on other users."
    )
    section = _section(body, "Candidate, baselines and champion", words)
    heads = ("model", "users", "train s", "ms/user", "MB", *(name.upper() for name in TABLE))
    lines = (
        (
            _title(each),
            max((each.metrics[name].samples for name in TABLE if name in each.metrics), default=None),
            "" if each.role == "champion" else f"{each.train_seconds:.2f}",
            f"{each.inference_ms_per_user:.3f}",
            f"{each.size_bytes / 1e6:.2f}",
            *(_estimate(each.metrics.get(name)) for name in TABLE),
        )
        for each in card.evaluations
    )
    _table(section, heads, lines, numbers=True)


def _ordered(names: Iterable[str]) -> list[str]:
    rank = {name: place for place, name in enumerate(FIRST)}
    return sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))


def _bar(label: str, e: Estimate, role: str, sign: str = "") -> Bar:
    return Bar(label=label, value=e.value, low=e.low, high=e.high, role=role, figures=_estimate(e, sign))


def _metrics(body: Element, card: VersionCard) -> None:
    names = _ordered(name for each in card.evaluations for name in each.metrics)
    if not names:
        return
    section = _section(body, "Metrics, with 95 % intervals")
    grid = SubElement(section, "div", {"class": "grid"})
    for name in names[:MOST_PLOTS]:
        bars = [_bar(_title(each), each.metrics[name], each.role) for each in card.evaluations if name in each.metrics]
        _figure(grid, name, rows(f"{name} by model", bars))
    if names[MOST_PLOTS:]:
        lines = ((_title(each), *(_estimate(each.metrics.get(name)) for name in names[MOST_PLOTS:])) for each in card.evaluations)
        _table(section, ("model", *names[MOST_PLOTS:]), lines, numbers=True)
    silent: dict[tuple[str, str], list[str]] = {}
    for each in card.evaluations:
        for name, why in each.abstained.items():
            silent.setdefault((name, why), []).append(_title(each))
    if silent:
        details = SubElement(section, "details")
        _say(details, "summary", "Metrics that abstain")
        _table(details, ("metric", "why", "models"), ((name, why, ", ".join(who)) for (name, why), who in sorted(silent.items())))


def _differences(body: Element, card: VersionCard) -> None:
    others = [each for each in card.evaluations if each.difference]
    if not others:
        return
    words = "The candidate minus the other, paired by user where the metric is per user: right of the line the candidate has more of it."
    section = _section(body, "Against champion and baselines", words)
    grid = SubElement(section, "div", {"class": "grid"})
    for name in _ordered(name for each in others for name in each.difference)[:MOST_PLOTS]:
        bars = [_bar(f"minus {each.name}", each.difference[name], each.role, "+") for each in others if name in each.difference]
        _figure(grid, f"{name}, difference", rows(f"{name}: candidate minus the others", bars, zero=True))


def _by_slice(card: VersionCard, metric: str) -> Iterator[tuple[str, list[Bar]]]:
    names = sorted({name for each in card.evaluations for name in each.slices})
    for name in names:
        found = [(each, each.slices[name][metric]) for each in card.evaluations if metric in each.slices.get(name, {})]
        if found:
            yield name, [_bar(_title(each), e, each.role) for each, e in found]


def _slices(body: Element, card: VersionCard) -> None:
    metric = "ndcg@10"
    found = list(_by_slice(card, metric))
    if not found:
        return
    section = _section(body, f"By slice: {metric}", "The same over a part of the users or items, on its own scale.")
    grid = SubElement(section, "div", {"class": "grid"})
    for name, bars in found[:MOST_PLOTS]:
        samples = max(each.slices[name][metric].samples for each in card.evaluations if metric in each.slices.get(name, {}))
        _figure(grid, f"{name} ({samples:,})", rows(f"{metric} of {name}", bars))
    details = SubElement(section, "details")
    _say(details, "summary", "All slices and metrics")
    lines = (
        (name, _title(each), metric, _estimate(e), e.samples)
        for each in card.evaluations
        for name, metrics in sorted(each.slices.items())
        for metric, e in sorted(metrics.items())
    )
    _table(details, ("slice", "model", "metric", "value", "samples"), lines, numbers=True)


def _exposure(body: Element, card: VersionCard, found: Exposure) -> None:
    words = (
        f"Items in ten equal parts, the most liked first: what part of the interactions each has, and what part of the places in the lists "
        f"of {found.users:,} users that {card.version} makes. Lists that lean further left than the events make the popular more popular."
    )
    section = _section(body, "Popularity bias", words)
    names = [f"{10 * place}–{10 * place + 10} %" for place in range(TENTHS)]
    _figure(section, "", columns("Popularity bias by tenth of the items", names, {"interactions": found.liked, "shown": found.shown}))
    details = SubElement(section, "details")
    _say(details, "summary", "Items shown to most users")
    _table(details, ("item", "part of the users"), ((item, f"{part:.1%}") for item, part in found.top), numbers=True)


def _curve(body: Element, card: VersionCard) -> None:
    if len(card.curve) < 2:
        return
    words = (
        f"NDCG@10 of {card.algorithm} after steps of the measured fit, for the same users: on items that it learns from (a part of the "
        "history is shown, the rest is asked for), and on those held out. Where the second falls, fewer steps would do. Nothing was chosen "
        "by it."
    )
    section = _section(body, "Training curve", words)
    found = {"learnt": [each.learnt for each in card.curve], "held out": [each.held_out for each in card.curve]}
    _figure(section, "", drawn("NDCG@10 by step", [each.step for each in card.curve], found))


def _times(body: Element, card: VersionCard) -> None:
    fitted = [each for each in card.evaluations if each.role != "champion"]
    section = _section(body, "Time to train", "Seconds of the fit on the training part; what serves was fitted once more on everything.")
    bars = [Bar(label=_title(each), value=each.train_seconds, role=each.role, figures=f"{each.train_seconds:.2f} s") for each in fitted]
    _figure(section, "", rows("Seconds to train", bars))


def _data(body: Element, card: VersionCard) -> None:
    manifest = card.snapshot
    words = (
        f"Snapshot {manifest.sequence} of Kafka cluster {manifest.cluster_id}, committed at {manifest.committed_at.isoformat()}: "
        f"{manifest.rows:,} rows; of these {card.interactions:,} interactions of {card.users:,} users with {card.items:,} items. "
        f"{manifest.dead_letters:,} dead letters."
    )
    section = _section(body, "Data", words)
    _table(
        section, ("table", "version", "rows"), ((each.event_type, each.version, f"{each.rows:,}") for each in manifest.tables), numbers=True
    )
    details = SubElement(section, "details")
    _say(details, "summary", f"Offsets of {len(manifest.offsets)} partitions")
    _table(details, ("topic", "partition", "next offset"), ((o.topic, o.partition, o.next_offset) for o in manifest.offsets), numbers=True)


def _facts(parent: Element, title: str, facts: Mapping[str, object]) -> None:
    if facts:
        _table(parent, (title, ""), sorted(facts.items()))


def _made_with(body: Element, card: VersionCard) -> None:
    section = _section(body, "Made with", card.worker)
    grid = SubElement(section, "div", {"class": "grid"})
    asked: dict[str, object] = {"algorithm": card.algorithm, "seed": card.seed, "parent": card.parent or "none"}
    _facts(grid, "asked", asked | ({"workers": card.job.num_workers} if card.job else {}))
    _facts(grid, "hyperparameters", card.hyperparameters)
    _facts(grid, "libraries", card.libraries)
    _facts(grid, "code and machine", {f"code of {part}": digest for part, digest in card.code.items()} | card.machine)


def _files(body: Element, card: VersionCard) -> None:
    section = _section(body, "Files", f"The digest covers these files, {card.digest}; this page is not among them.")
    lines = ((name, f"{file.size_bytes:,}", file.sha256) for name, file in sorted(card.files.items()))
    _table(section, ("file", "bytes", "SHA-256"), lines, numbers=True)
