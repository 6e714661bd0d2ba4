"""Dockerfiles as both builders read them, and archives that are the same whenever they are made."""

import json
import tarfile
from pathlib import Path

import pytest

from recsys_dev import images
from recsys_dev.bill_of_materials import debian_components, python_components
from recsys_dev.dockerfile import filled, pairs, read
from recsys_dev.errors import Unmet
from recsys_dev.image_archive import Settings, write_archive
from recsys_dev.layers import digest_of_tree, pack

IMAGES = list(images.IMAGES.values())


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: f"{image.folder}{image.variant}")
def test_our_dockerfiles_are_read_whole_and_what_they_copy_is_there(image: images.Image):
    stages = read(image.dockerfile)
    names = {stage.name for stage in stages}
    for stage in stages:
        for each in stage.instructions:
            sources = [] if each.word != "COPY" or each.flag("from") else each.value.split()[:-1]
            sources += [filled(mount["source"], {"VARIANT": image.variant}) for mount in each.mounts() if mount["type"] == "bind"]
            assert [source for source in sources if not (images.REPOSITORY / source).exists()] == []
            assert each.flag("from") in {None, *names}
    assert image.lock.is_file()


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: f"{image.folder}{image.variant}")
def test_our_images_run_as_nobody_and_install_only_what_is_pinned_by_hash(image: images.Image):
    last = read(image.dockerfile)[-1]
    assert [each.value for each in last.instructions if each.word == "USER"] == ["65532:65532"]
    runs = [each.value for stage in read(image.dockerfile) for each in stage.instructions if each.word == "RUN"]
    installs = [part for run in runs for part in run.split("&&") if "pip " in part and " install " in part and "--no-index" not in part]
    assert installs
    assert [part for part in installs if "--require-hashes" not in part] == []


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: f"{image.folder}{image.variant}")
def test_an_image_has_the_versions_that_the_tests_ran_with(image: images.Image):
    tested = {each["name"].lower(): each["version"] for each in python_components((images.REPOSITORY / "requirements.lock").read_text())}
    within = {each["name"].lower(): each["version"] for each in python_components(image.lock.read_text())}
    assert {name for name, version in within.items() if tested.get(name, version) != version} == set()
    assert ("ray" in within) == (image.folder == "ray-apps")


def test_an_instruction_that_only_one_builder_knows_is_refused_with_its_line(tmp_path: Path):
    file = tmp_path / "Dockerfile"
    file.write_text("FROM debian:bookworm-slim\n# why\nRUN a \\\n && b\nONBUILD RUN c\n")
    with pytest.raises(Unmet, match=r"line 5: ONBUILD is not one of"):
        read(file)


def test_lines_that_go_on_and_flags_and_pairs_are_read(tmp_path: Path):
    file = tmp_path / "Dockerfile"
    file.write_text('FROM debian:bookworm-slim AS one\nRUN --mount=type=cache,target=/c \\\n   a \\\n   && b\nENV A=1 B="two words"\n')
    (stage,) = read(file)
    run, env = stage.instructions
    assert (stage.name, run.mounts(), run.value.split()) == ("one", [{"type": "cache", "target": "/c"}], ["a", "&&", "b"])
    assert pairs(env.value) == {"A": "1", "B": "two words"}


def layer(folder: Path, name: str, *, reverse: bool) -> Path:
    tree = folder / name
    (tree / "etc").mkdir(parents=True)
    for file in sorted(["b", "a", "c"], reverse=reverse):
        (tree / "etc" / file).write_text(file)
    pack(tree, folder / f"{name}.tar", 315532800)
    return folder / f"{name}.tar"


def test_the_same_tree_is_the_same_archive_whatever_the_order_and_the_hour(tmp_path: Path):
    layers = [layer(tmp_path, name, reverse=name == "two") for name in ("one", "two")]
    digests = {write_archive(tmp_path / f"{file.stem}.img", "x:1", [file], Settings(user="65532"), 0) for file in layers}
    assert len(digests) == 1
    with tarfile.open(tmp_path / "one.img") as archive:
        manifest = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
    assert manifest[0]["RepoTags"] == ["x:1"]


def test_another_byte_or_mode_is_another_tree_and_bytecode_is_none(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("1")
    first = digest_of_tree(tree)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert digest_of_tree(tree) == first
    (tree / "a.py").chmod(0o755)
    assert digest_of_tree(tree) != first


def test_a_bill_names_python_packages_of_the_image_and_what_debian_has_installed():
    lock = (
        "numpy==2.1.0 \\\n    --hash=sha256:"
        + "a" * 64
        + "\ncolorama==1 ; sys_platform == 'win32' \\\n    --hash=sha256:"
        + "b" * 64
        + "\n"
    )
    (numpy,) = python_components(lock)
    assert (numpy["purl"], numpy["properties"][0]["value"]) == ("pkg:pypi/numpy@2.1.0", "a" * 64)
    there = "Package: bash\nStatus: install ok installed\nVersion: 5.2\nArchitecture: amd64\n"
    status = f"{there}\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    assert [each["purl"] for each in debian_components(status)] == ["pkg:deb/debian/bash@5.2?arch=amd64&distro=bookworm"]
