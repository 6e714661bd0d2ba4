"""The page of a version: complete, self-contained, and only ever text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.cli.__main__ import main
from ray_apps.reports.exposure import Exposure, exposure
from ray_apps.reports.page import page
from ray_apps.reports.plots import Bar, lines, rows, ticks
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version, read_card
from ray_apps.training import job as training
from ray_apps.training.job import run
from recsys_schemas.snapshot import PartitionOffset
from recsys_schemas.version_card import REPORT_FILE, Estimate, FileDigest, VersionCard, version_folder
from unit.ray_apps.training import planted

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;svg/onload=alert(3)> javascript:alert(4)"
INERT = frozenset(
    {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "section",
        "h1",
        "h2",
        "p",
        "div",
        "figure",
        "figcaption",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "g",
        "text",
        "line",
        "rect",
        "circle",
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def card(folder: Path) -> VersionCard:
    uri = planted.snapshot(folder, {"watch": planted.tastes(users=80, items=40, events=10)})
    return run(planted.job(uri, hyperparameters={"factors": 8, "iterations": 3}))


class Read(HTMLParser):
    """What a browser would find: elements, attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "an element was closed by what a card says"

    def handle_data(self, data: str) -> None:
        self.words += data


def hostile(card: VersionCard) -> VersionCard:
    """A card each of whose words would be code if it were markup."""
    one = Estimate(value=0.1, low=0.0, high=0.2, samples=5)
    found = {HOSTILE: one, "ndcg@10": one}
    worst = [
        each.model_copy(
            update={
                "name": HOSTILE,
                "role": "champion" if number else "candidate",
                "metrics": found,
                "difference": found,
                "slices": {f"group:{HOSTILE}": found},
                "slice_difference": {HOSTILE: found},
                "abstained": {HOSTILE: HOSTILE},
            }
        )
        for number, each in enumerate(card.evaluations)
    ]
    snapshot = card.snapshot.model_copy(
        update={
            "cluster_id": HOSTILE,
            "offsets": [PartitionOffset(topic=HOSTILE, partition=0, next_offset=1)],
            "tables": [table.model_copy(update={"event_type": HOSTILE}) for table in card.snapshot.tables],
        }
    )
    words = dict.fromkeys(("version", "model", "digest", "algorithm", "split", "parent", "worker"), HOSTILE)
    facts = {name: {HOSTILE: HOSTILE} for name in ("hyperparameters", "libraries", "code", "machine")}
    files = {HOSTILE: FileDigest(sha256=HOSTILE, size_bytes=1)}
    return card.model_copy(update={**words, **facts, "evaluations": worst, "snapshot": snapshot, "files": files})


def test_each_version_has_a_page_that_says_what_its_card_says(folder: Path, card: VersionCard):
    text = (folder / version_folder(card.version) / REPORT_FILE).read_text()
    assert card.report == REPORT_FILE
    read = Read(text)
    wanted = [card.version, card.digest, "ALS (candidate)", "ItemItem", "factors", "numpy", "interactions", card.split]
    wanted += [file.sha256 for file in card.files.values()]
    assert [word for word in wanted if word not in read.words] == []
    assert read.open == []


def test_the_page_draws_the_training_curve_of_an_algorithm_with_steps(card: VersionCard):
    assert [point.step for point in card.curve] == [1, 2, 3]
    with_curve, without = (Read(page(each)).words for each in (card, card.model_copy(update={"curve": []})))
    for word in ("Training curve", "learnt, step 3:", f"held out, step 1: {card.curve[0].held_out:.3f}"):
        assert word in with_curve
        assert word not in without


def test_a_curve_of_odd_numbers_is_a_plot_all_the_same():
    plot = lines("x", [1, 1_000_000], {"learnt": [float("nan"), float("inf")], "held out": [0.0, 0.0]})
    assert [each.tag for each in plot.iter()].count("circle") == 2


def test_the_page_needs_nothing_but_itself(folder: Path, card: VersionCard):
    text = (folder / version_folder(card.version) / REPORT_FILE).read_text()
    read = Read(text)
    assert read.tags <= INERT
    assert read.attributes & {"src", "href", "srcset", "style", "xlink:href"} == set()
    assert re.findall(r"https?:|url\(|@import", text) == []
    assert "default-src 'none'" in text


def test_nothing_that_a_card_or_a_catalogue_says_becomes_markup(card: VersionCard):
    shown = Exposure(users=1, shown=(0.1,) * 10, liked=(0.1,) * 10, top=((HOSTILE, 1.0),))
    read = Read(page(hostile(card), shown))
    assert read.tags <= INERT
    assert not [name for name in read.attributes if name.startswith("on")]
    assert read.open == []
    assert HOSTILE in read.words


def test_the_same_card_gives_the_same_page(card: VersionCard):
    assert page(card) == page(card)


def test_a_card_without_champion_slices_or_metrics_still_has_a_page(card: VersionCard):
    bare = card.model_copy(update={"evaluations": [], "files": {}, "hyperparameters": {}, "code": {}, "machine": {}, "job": None})
    assert card.version in Read(page(bare)).words


def test_numbers_that_are_none_do_not_break_the_page(card: VersionCard):
    nan, wide = float("nan"), float("inf")
    odd = Estimate.model_construct(value=nan, low=-wide, high=wide, samples=0)
    worst = card.evaluations[0].model_copy(update={"metrics": {"ndcg@10": odd}, "difference": {"ndcg@10": odd}})
    assert Read(page(card.model_copy(update={"evaluations": [worst]}))).open == []


def test_a_page_that_cannot_be_made_costs_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> str:
        raise RuntimeError("a bug in the page")

    monkeypatch.setattr(training, "page", broken)
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=40, items=20, events=8)})
    made = run(planted.job(uri, algorithm="Popularity", baselines=[]))
    assert made.report is None
    assert read_card(open_store(uri), made.version) == made


def test_the_page_in_the_store_is_not_taken_for_what_the_tool_writes(
    folder: Path, card: VersionCard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = open_store(f"file://{folder}")
    kept = (folder / version_folder(card.version) / REPORT_FILE).read_text()
    store.write(f"{version_folder(card.version)}/{REPORT_FILE}", HOSTILE.encode())
    assert open_version(store, card.version, card.digest, tmp_path, training.load_model).card == card, "the page is not part of the digest"
    to = tmp_path / "deeper" / "page.html"
    assert main(["versions", "report", card.version, "--storage", store.uri, "--to", str(to)]) == 0
    assert str(to) in capsys.readouterr().out
    # Written by training before the card had the name of the page in it; nothing else may differ.
    assert to.read_text() == kept


def test_lists_that_lean_to_the_popular_show_it():
    n_items, users = 200, 40
    chance = np.random.default_rng(1)
    items = np.sort(np.stack([chance.choice(n_items, 5, replace=False) for _ in range(users)]), axis=1).astype(np.int32)
    histories = Histories(indptr=np.arange(0, 5 * users + 1, 5), indices=items.ravel(), weights=np.ones(5 * users, dtype=np.float32))
    popularity = np.bincount(items.ravel(), minlength=n_items).astype(np.int64)

    def popular(history: Indices, weights: Weights) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        del history, weights
        return popularity.astype(np.float32)

    found = exposure(popular, histories, popularity, lambda item: f"item-{item}")
    assert found is not None
    assert sum(found.shown) == pytest.approx(1)
    assert sum(found.shown[:2]) > 0.9 > sum(found.liked[:2])
    assert exposure(popular, histories.select(np.array([], dtype=np.int64)), popularity, str) is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.23), (-0.01, 0.4), (0.0, 1.0), (1e-9, 2e-9), (0.0, 12_345.0), (5.0, 5.0)])
def test_ticks_are_few_and_inside(low: float, high: float):
    found = ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


def test_a_longer_label_is_cut_in_the_plot_and_whole_in_its_title():
    plot = rows("x", [Bar(label="a" * 60, value=1.0, role="baseline", low=0.5, high=1.5)])
    words = [each.text or "" for each in plot.iter()]
    assert "a" * 60 not in words
    assert any(word.startswith("a" * 60) for word in words)
