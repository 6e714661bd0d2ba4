"""A thousand versions that somebody has tampered with: each is refused before any of its files is mapped."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ray_apps.algorithms import load_model
from ray_apps.stores import artefacts, registry
from ray_apps.stores.artefacts import ArtefactRefused, digest_of_file, npy_parts
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.registry import VersionContents, open_version, read_card, write_arrays, write_card
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.version_card import FileDigest, VersionCard, digest_of, version_folder
from unit.ray_apps.stores.remote import remote

TRIES = 1_000
VERSION, OLDER, OTHERS = "movies-000002", "movies-000001", "books-000002"
HIDING_PLACES = (
    "../escape.npy",
    "/etc/passwd",
    "a/b.npy",
    "..npy",
    "x\0.npy",
    "con.npy/../popularity.npy",
    "a\n.npy",
    ".hidden.npy",
    "P.npy",
)


def card_of(version: str, files: Mapping[str, FileDigest], model: str = "default/movies") -> VersionCard:
    now = "2026-01-01T00:00:00Z"
    manifest = SnapshotManifest.model_validate(
        {"sequence": 1, "cluster_id": "c", "tables": [], "offsets": [], "rows": 3, "dead_letters": 0, "committed_at": now}
    )
    return VersionCard.model_validate(
        {
            "version": version,
            "model": model,
            "digest": digest_of({name: file.sha256 for name, file in files.items()}),
            "algorithm": "Popularity",
            "hyperparameters": {},
            "seed": 1,
            "snapshot": manifest,
            "split": "",
            "users": 9,
            "items": 20,
            "interactions": 27,
            "test_users": 0,
            "evaluations": [],
            "files": files,
            "libraries": {},
            "created_at": now,
        }
    )


def made(store: Store, version: str, seed: int, model: str = "default/movies") -> VersionCard:
    """A version whose arrays follow from the seed; equal shapes, other numbers."""
    chance = np.random.default_rng(seed)
    contents = VersionContents(
        item_ids=[f"item-{number:02d}" for number in range(20)],
        user_ids=[f"user-{seed}-{number}" for number in range(9)],
        history_indptr=np.arange(0, 28, 3),
        history_indices=np.concatenate([np.sort(chance.choice(20, 3, replace=False)) for _ in range(9)]).astype(np.int32),
        history_weights=chance.random(27, dtype=np.float32),
        popularity=chance.integers(0, 9, 20),
        model={"counts": chance.random(20, dtype=np.float32)},
    )
    card = card_of(version, write_arrays(store, version, contents), model)
    write_card(store, card)
    return card


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One version in a folder of its own, others to borrow from, and chance."""

    folder: Path
    older: Path
    others: Path
    card: VersionCard
    chance: random.Random

    def any_array(self) -> Path:
        return self.folder / self.chance.choice(sorted(self.card.files))

    def put(self, path: Path, data: bytes) -> None:
        """A file of other bytes in the place of one: never into one, for the scene's files are shared."""
        path.unlink()
        path.write_bytes(data)

    def recard(self, **change: object) -> None:
        self.put(self.folder / "card.json", self.card.model_copy(update=change).model_dump_json().encode())

    def forge(self, name: str, data: bytes) -> str:
        """Another file and a card that names it truly, as a forger of both would have it; returns the digest that he would have pinned."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return self.name(name, digest_of_file(path))

    def name(self, name: str, file: FileDigest) -> str:
        forged = card_of(VERSION, {**self.card.files, name: file})
        self.put(self.folder / "card.json", forged.model_dump_json().encode())
        return forged.digest


Tamper = Callable[[Scene], str | None]
"""Does its harm; returns the digest that is pinned, where the harm is in what was pinned."""


def flip_a_bit(scene: Scene) -> None:
    path = scene.any_array()
    data = bytearray(path.read_bytes())
    data[scene.chance.randrange(len(data))] ^= 1 << scene.chance.randrange(8)
    scene.put(path, bytes(data))


def cut(scene: Scene) -> None:
    path = scene.any_array()
    data = path.read_bytes()
    scene.put(path, data[: scene.chance.randrange(len(data))])


def lengthen(scene: Scene) -> None:
    path = scene.any_array()
    scene.put(path, path.read_bytes() + scene.chance.randbytes(scene.chance.randint(1, 99)))


def swap(scene: Scene) -> None:
    one, two = scene.chance.sample(sorted(scene.card.files), 2)
    (scene.folder / one).rename(scene.folder / "third")
    (scene.folder / two).rename(scene.folder / one)
    (scene.folder / "third").rename(scene.folder / two)


def replay_a_file(scene: Scene) -> None:
    name = scene.chance.choice(["popularity.npy", "history_weights.npy", "model.counts.npy", "user_bytes.npy"])
    scene.put(scene.folder / name, (scene.older / name).read_bytes())


def replay_the_older_version(scene: Scene) -> None:
    for path in scene.older.iterdir():
        scene.put(scene.folder / path.name, path.read_bytes())


def replay_the_older_version_renamed(scene: Scene) -> None:
    replay_the_older_version(scene)
    older = VersionCard.model_validate_json((scene.older / "card.json").read_bytes())
    scene.put(scene.folder / "card.json", older.model_copy(update={"version": VERSION}).model_dump_json().encode())


def take_another_models(scene: Scene) -> None:
    names = sorted(scene.card.files) if scene.chance.random() < 0.5 else ["model.counts.npy"]
    for name in names:
        scene.put(scene.folder / name, (scene.others / name).read_bytes())


def link(scene: Scene) -> None:
    path = scene.any_array()
    elsewhere = scene.folder.parent / "elsewhere.npy"
    path.rename(elsewhere)
    path.symlink_to(scene.chance.choice([elsewhere, Path("/dev/zero"), Path("missing"), path]))


def link_the_card(scene: Scene) -> None:
    path = scene.folder / "card.json"
    path.rename(scene.folder.parent / "elsewhere.json")
    path.symlink_to(scene.folder.parent / "elsewhere.json")


def link_in_a_circle(scene: Scene) -> None:
    (scene.folder / "deeper").symlink_to(scene.folder)


def pipe(scene: Scene) -> None:
    path = scene.folder / scene.chance.choice([*sorted(scene.card.files), "card.json"])
    path.unlink()
    os.mkfifo(path)


def folder_in_its_place(scene: Scene) -> None:
    path = scene.any_array()
    path.unlink()
    path.mkdir()


def remove(scene: Scene) -> None:
    (scene.folder / scene.chance.choice([*sorted(scene.card.files), "card.json"])).unlink()


def add(scene: Scene) -> None:
    name = scene.chance.choice(["model.more.npy", "model.counts.pkl", "library.so", "deeper/popularity.npy", "read me"])
    path = scene.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(scene.any_array().read_bytes() if "deeper" not in name else b"x")


def edit_the_card(scene: Scene) -> None:
    name = scene.chance.choice(sorted(scene.card.files))
    file = scene.card.files[name]
    other = "f" if file.sha256[0] != "f" else "0"
    harm: list[dict[str, object]] = [
        {"digest": "sha256:" + "0" * 64},
        {"version": OLDER},
        {"files": {**scene.card.files, name: file.model_copy(update={"sha256": other + file.sha256[1:]})}},
        {"files": {**scene.card.files, name: file.model_copy(update={"size_bytes": file.size_bytes + 1})}},
        {"files": {other: each for other, each in scene.card.files.items() if other != name}},
        {"files": {}},
    ]
    scene.recard(**scene.chance.choice(harm))


def break_the_card(scene: Scene) -> None:
    data = (scene.folder / "card.json").read_bytes()
    many = b'{"version":' + b"[" * 100_000
    scene.put(scene.folder / "card.json", scene.chance.choice([b"", b"\x80\x04.", b"null", data[: len(data) // 2], many]))


def pad_the_card(scene: Scene) -> None:
    scene.put(scene.folder / "card.json", b" ")
    os.truncate(scene.folder / "card.json", registry.MOST_CARD_BYTES + 1)


def forge_and_repin_nothing(scene: Scene) -> None:
    """Array and card are changed together: only the pinned digest tells."""
    scene.forge("popularity.npy", b"".join(npy_parts(np.arange(20))))


def hide_a_path(scene: Scene) -> str:
    return scene.name(scene.chance.choice(HIDING_PLACES), next(iter(scene.card.files.values())))


def pickle_objects(scene: Scene) -> str:
    path = scene.folder / "model.counts.npy"
    path.unlink()
    np.save(path, np.array([{"run": "me"}] * 20, dtype=object), allow_pickle=True)
    return scene.name(path.name, digest_of_file(path))


def header(**said: object) -> bytes:
    words = repr({"descr": "<f4", "fortran_order": False, "shape": (20,)} | said).encode()
    words += b" " * (-(len(words) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words


def lie_in_the_header(scene: Scene) -> str:
    body = np.zeros(20, dtype=np.float32).tobytes()
    wrong = [
        header(shape=(2**62, 16)) + body,
        header(shape=(21,)) + body,
        header(shape=(-1, -20)) + body,
        header(descr="|O") + body,
        header(descr=[("a", "<f4")]) + body,
        header(descr="<U5") + body,
        header(fortran_order=True, shape=(4, 5)) + body,
        header(more=1) + body,
        b"\x93NUMPY\x01\x00" + (9).to_bytes(2, "little") + b"[1].pop()" + body,
        b"\x93NUMPY\x02\x00" + (4_000_000_000).to_bytes(4, "little") + body,
        b"\x93NUMPY\x01\x00" + (40_000).to_bytes(2, "little") + b"(" * 40_000 + body,
        b"PK\x03\x04" + body,
        b"",
    ]
    return scene.forge("model.counts.npy", scene.chance.choice(wrong))


TAMPERS: tuple[Tamper, ...] = (
    flip_a_bit,
    cut,
    lengthen,
    swap,
    replay_a_file,
    replay_the_older_version,
    replay_the_older_version_renamed,
    take_another_models,
    link,
    link_the_card,
    link_in_a_circle,
    pipe,
    folder_in_its_place,
    remove,
    add,
    edit_the_card,
    break_the_card,
    pad_the_card,
    forge_and_repin_nothing,
    hide_a_path,
    pickle_objects,
    lie_in_the_header,
)
ONLY_LOCAL = frozenset({link, link_the_card, link_in_a_circle, pipe, folder_in_its_place})
"""What an object store cannot hold."""


@dataclass(slots=True)
class Mapped:
    """Counts what is mapped."""

    count: int = 0
    true: Callable[..., NDArray[np.generic]] = field(default=np.memmap)

    def __call__(self, *args: object, **more: object) -> NDArray[np.generic]:
        self.count += 1
        return self.true(*args, **more)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> Mapped:
    counting = Mapped()
    monkeypatch.setattr(artefacts.np, "memmap", counting)
    return counting


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(f"file://{tmp_path_factory.mktemp('origin')}")
    made(store, OLDER, 1)
    made(store, VERSION, 2)
    made(store, OTHERS, 2, "default/books")  # the same ids: only its own numbers are others
    made(store, OTHERS, 3, "default/books")
    return store


def scenes(origin: Store, root: Path, tries: int) -> Iterator[tuple[Tamper, Scene, Store]]:
    """Versions, each with the harm that is to be done to it, and the store that it is read from."""
    card = read_card(origin, VERSION)
    assert card is not None
    sources = {name: Path(origin.path(version_folder(name))) for name in (VERSION, OLDER, OTHERS)}
    for number in range(tries):
        tamper, place = TAMPERS[number % len(TAMPERS)], root / str(number)
        folder = place / version_folder(VERSION)
        folder.mkdir(parents=True)
        for path in sources[VERSION].iterdir():
            (folder / path.name).hardlink_to(path)
        local = tamper in ONLY_LOCAL or number // len(TAMPERS) % 2 == 0
        store = open_store(f"file://{place}") if local else remote(str(place))
        chance = random.Random(number)
        yield tamper, Scene(folder=folder, older=sources[OLDER], others=sources[OTHERS], card=card, chance=chance), store


def survivors(origin: Store, root: Path, mapped: Mapped, tries: int = TRIES) -> Counter[str]:
    """By kind of harm: versions that were taken, or of which something was mapped before they were refused."""
    found: Counter[str] = Counter()
    for tamper, scene, store in scenes(origin, root, tries):
        mapped.count = 0
        pinned = tamper(scene) or scene.card.digest
        try:
            open_version(store, VERSION, pinned, root / "cache", load_model)
        except ArtefactRefused as refused:
            assert str(refused).startswith(VERSION), refused  # noqa: PT017 - what is refused is named
            if not mapped.count:
                continue
        found[getattr(tamper, "__name__", "")] += 1
    return found


def test_untouched_versions_are_taken(origin: Store, tmp_path: Path, mapped: Mapped):
    for _, scene, store in scenes(origin, tmp_path, 2 * len(TAMPERS)):
        assert open_version(store, VERSION, scene.card.digest, tmp_path / "cache", load_model).card == scene.card
    card = read_card(origin, VERSION)
    assert card is not None
    assert mapped.count == 2 * len(TAMPERS) * len(card.files)


def test_a_thousand_tampered_versions_are_refused_before_anything_is_mapped(origin: Store, tmp_path: Path, mapped: Mapped):
    assert survivors(origin, tmp_path, mapped) == {}


def test_a_twin_that_maps_each_file_as_soon_as_it_is_hashed_is_caught(
    origin: Store, tmp_path: Path, mapped: Mapped, monkeypatch: pytest.MonkeyPatch
):
    whole = registry.map_verified

    def one_by_one(files: Mapping[Path, FileDigest]) -> list[NDArray[np.generic]]:
        return [array for path, file in files.items() for array in whole({path: file})]

    monkeypatch.setattr(registry, "map_verified", one_by_one)
    assert survivors(origin, tmp_path, mapped, tries=200)["flip_a_bit"] > 0


def test_a_twin_that_does_not_hash_is_caught(origin: Store, tmp_path: Path, mapped: Mapped, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(artefacts, "_verify", lambda *_: None)
    found = survivors(origin, tmp_path, mapped, tries=200)
    assert found["flip_a_bit"] > 0
    assert found["replay_a_file"] > 0


def test_a_twin_that_passes_names_over_is_caught(origin: Store, tmp_path: Path, mapped: Mapped, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "check_names", lambda *_: None)
    assert survivors(origin, tmp_path, mapped, tries=200)["add"] > 0
