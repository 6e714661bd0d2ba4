"""What a fit keeps is gone on from only when it is whole and its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ray_apps.algorithms.ials_blocks import Side, sides
from ray_apps.training import keeping
from ray_apps.training.board import Group
from ray_apps.training.crew import Crew, Order, whole_shard
from ray_apps.training.keeping import KeptRefusedError, Mark
from unit.ray_apps.algorithms.test_ials import VALUES, interactions

EPOCHS = int(VALUES["iterations"])


def crew(reports: list[Path], kept: Path | None, folder: Path) -> Crew:
    def report(made: Path) -> None:
        place = folder / f"kept-{len(reports)}"
        made.rename(place)
        made.mkdir()
        reports.append(place)

    return Crew(group=Group(board=None, attempt=1, rank=0, workers=1), shard=whole_shard(interactions()), report=report, kept=kept)


def fitted(kept: Path | None, folder: Path) -> tuple[bytes, list[Path]]:
    reports: list[Path] = []
    arrays = crew(reports, kept, folder).work(Order(values=VALUES, seed=7))
    return arrays["item_factors"].tobytes(), reports


def test_a_fit_that_was_kept_is_gone_on_from_and_ends_with_the_same_bytes(tmp_path: Path):
    whole, reports = fitted(None, tmp_path)
    assert len(reports) == EPOCHS
    for number, kept in enumerate(reports, start=1):
        (tmp_path / f"again-{number}").mkdir()
        again, more = fitted(kept, tmp_path / f"again-{number}")
        assert again == whole
        assert len(more) == EPOCHS - number


def _forget_the_epoch(folder: Path) -> None:
    mark = folder / "fit-0.json"
    mark.write_text(mark.read_text().split(', "epochs"')[0] + "}")


def _lose_a_block(folder: Path) -> None:
    next(iter(folder.glob("fit-0.items-*.npy"))).unlink()


def _cut_a_block(folder: Path) -> None:
    block = next(iter(folder.glob("fit-0.items-*.npy")))
    block.write_bytes(block.read_bytes()[:-7])


def _spoil_a_block(folder: Path) -> None:
    block = next(iter(folder.glob("fit-0.items-*.npy")))
    np.save(block, np.full_like(np.load(block), np.nan))


def _lose_the_mark(folder: Path) -> None:
    (folder / "fit-0.json").unlink()


TWINS = [_forget_the_epoch, _lose_a_block, _cut_a_block, _spoil_a_block, _lose_the_mark]


@pytest.mark.parametrize("break_it", TWINS)
def test_a_checkpoint_that_lacks_something_is_refused_and_the_fit_begins_anew(tmp_path: Path, break_it: Callable[[Path], None]):
    whole, reports = fitted(None, tmp_path)
    break_it(reports[1])
    _, items = sides(interactions())
    with pytest.raises(KeptRefusedError):
        keeping.read(reports[1], 0, _mark(reports[0]), items, 8)
    (tmp_path / "again").mkdir()
    again, more = fitted(reports[1], tmp_path / "again")
    assert again == whole
    assert len(more) == EPOCHS


def _mark(folder: Path) -> str:
    return keeping._mark(folder / "fit-0.json").fingerprint


def test_another_fits_vectors_are_never_gone_on_from(tmp_path: Path):
    _, items = sides(interactions())
    keeping.write(
        tmp_path, 0, Mark(fingerprint="other", epochs=2), {block: np.zeros((len(rows), 8), np.float32) for block, rows in items.own.items()}
    )
    with pytest.raises(KeptRefusedError, match="another fit"):
        keeping.read(tmp_path, 0, "mine", items, 8)
    assert keeping.read(tmp_path, 1, "mine", items, 8) is None


def test_the_fingerprint_changes_with_all_that_a_fit_is_made_of():
    both = sides(interactions())
    other = sides(interactions(seed=2))
    start = np.ones((3, 8), dtype=np.float32)
    made: list[tuple[dict[str, float], int, tuple[Side, Side], np.ndarray[tuple[int, int], np.dtype[np.float32]] | None]] = [
        (VALUES, 7, both, None),
        (VALUES | {"factors": 9}, 7, both, None),
        (VALUES, 8, both, None),
        (VALUES, 7, other, None),
        (VALUES, 7, both, start),
    ]
    assert len({keeping.fingerprint(*each) for each in made}) == len(made)
