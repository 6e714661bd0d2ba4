"""Build the images of the operator and of the Ray apps: `make images`.

With docker, podman or buildah where one answers; else the same Dockerfiles are carried out in root folders, and the images are archives in
`build/images`. Either way each image has a bill of materials beside it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from recsys_dev.bill_of_materials import write_bill
from recsys_dev.cache import cache_dir
from recsys_dev.errors import Unmet, told
from recsys_dev.go_build import BUILD_DEADLINE_S, Progress, clock
from recsys_dev.image_archive import write_archive
from recsys_dev.image_build import Build, Built
from recsys_dev.layers import Layers
from recsys_dev.locks import locked

REPOSITORY = Path(__file__).resolve().parents[3]
EPOCH = 315_532_800
"""SOURCE_DATE_EPOCH where none is set: 1980, before which no zip can be dated."""
_ENGINE_DEADLINE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of the product."""

    name: str
    folder: str
    variant: str = ""

    @property
    def dockerfile(self) -> Path:
        """Its Dockerfile."""
        return REPOSITORY / "images" / self.folder / "Dockerfile"

    @property
    def lock(self) -> Path:
        """The packages in it, with their hashes."""
        return self.dockerfile.with_name(f"requirements-{self.variant}.lock" if self.variant else "requirements.lock")

    @property
    def tag(self) -> str:
        """Name and tag, as the chart's defaults have them."""
        chart = yaml.safe_load((REPOSITORY / "charts" / "recsys-operator" / "Chart.yaml").read_text())
        return f"{self.name}:{chart['appVersion']}{'-gpu' if self.variant == 'gpu' else ''}"


OPERATOR = Image(name="recsys-operator", folder="operator")
RAY_APPS = Image(name="recsys-ray-apps", folder="ray-apps", variant="cpu")
RAY_APPS_GPU = Image(name="recsys-ray-apps", folder="ray-apps", variant="gpu")
IMAGES = {"operator": OPERATOR, "ray-apps": RAY_APPS, "ray-apps-gpu": RAY_APPS_GPU}
DEFAULT = ("operator", "ray-apps")


def epoch() -> int:
    """Return the time that everything in an image carries: SOURCE_DATE_EPOCH, else the same always."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)


def engine() -> str | None:
    """Return the container engine that answers here; None when none does."""
    for name, question in (("docker", ["version", "--format", "{{.Server.Version}}"]), ("podman", ["info"]), ("buildah", ["info"])):
        if shutil.which(name) is not None:
            with_deadline = subprocess.run([name, *question], capture_output=True, timeout=60, check=False)
            if with_deadline.returncode == 0:
                return name
    return None


def archives(images: Sequence[Image], progress: Progress, *, cache: Path | None = None) -> dict[str, Path]:
    """Build images without an engine; return each one's archive by its tag. What has not changed takes seconds."""
    home = (cache or cache_dir()) / "images"
    found: dict[str, Path] = {}
    with locked(home / "build.lock", "building images", progress, deadline_s=BUILD_DEADLINE_S):
        layers = Layers(folder=home / "layers")
        layers.folder.mkdir(parents=True, exist_ok=True)
        for image in images:
            build = Build(
                context=REPOSITORY,
                layers=layers,
                caches=home / "caches",
                arguments={"SOURCE_DATE_EPOCH": str(epoch()), "VARIANT": image.variant},
                progress=lambda words, name=image.tag: progress(f"{name}: {words}"),
            )
            built = build.carry_out(image.dockerfile)
            (home / f"{image.folder}-{image.variant}.used").write_text("\n".join(sorted(build.used)))
            found[image.tag] = _archive(image, built, layers, home)
        layers.keep_only({key for used in home.glob("*.used") for key in used.read_text().split()})
    return found


def _archive(image: Image, built: Built, layers: Layers, home: Path) -> Path:
    file = packed(home / f"{image.tag.replace(':', '-')}.tar", image.tag, built, layers)
    write_bill(REPOSITORY / "build" / "images" / f"{file.stem}.cdx.json", image.tag, image.lock, _debian(built, layers), epoch())
    return file


def packed(file: Path, tag: str, built: Built, layers: Layers) -> Path:
    """Write an image's archive, unless it is there and of the same layers; return it."""
    made_of, known = f"{built.layers} {built.settings} {epoch()}", file.with_suffix(".made-of")
    if not (file.exists() and known.exists() and known.read_text() == made_of):
        digest = write_archive(file, tag, [layers.archive(key, epoch()) for key in built.layers], built.settings, epoch())
        file.with_suffix(".digest").write_text(digest + "\n")
        known.write_text(made_of)
    return file


def _debian(built: Built, layers: Layers) -> str:
    """Return Debian's list of what is installed: the uppermost layer's that has one."""
    lists = [layers.tree(key) / "var/lib/dpkg/status" for key in reversed(built.layers)]
    return next((each.read_text() for each in lists if each.exists()), "")


def by_engine(name: str, images: Sequence[Image], progress: Progress) -> None:
    """Build images with a container engine, which keeps them."""
    for image in images:
        arguments = {"SOURCE_DATE_EPOCH": str(epoch()), **({"VARIANT": image.variant} if image.variant else {})}
        argv = [name, "build", "--file", str(image.dockerfile), "--tag", image.tag]
        argv += [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        progress(f"{image.tag}: {' '.join(argv)}")
        done = subprocess.run([*argv, str(REPOSITORY)], env={**os.environ, "DOCKER_BUILDKIT": "1"}, timeout=_ENGINE_DEADLINE_S, check=False)
        if done.returncode != 0:
            raise Unmet(f"`{name} build` of {image.tag}", f"exit {done.returncode}", "Its words above say why.")
        listed = subprocess.run(
            [name, "run", "--rm", "--entrypoint", "cat", image.tag, "/var/lib/dpkg/status"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        bill = REPOSITORY / "build" / "images" / f"{image.tag.replace(':', '-')}.cdx.json"
        write_bill(bill, image.tag, image.lock, listed.stdout, epoch())


def main() -> int:
    """Build the images named, or those of the operator and the Ray apps for CPUs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="image", help=f"which: {', '.join(IMAGES)}")
    parser.add_argument("--without-engine", action="store_true", help="carry the Dockerfiles out in root folders, even where an engine is")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - began:6.1f} s  {line}", markup=False)

    unknown = [name for name in asked.images if name not in IMAGES]
    if unknown:
        raise Unmet("image to build", ", ".join(unknown), f"Known are: {', '.join(IMAGES)}.")
    images = [IMAGES[name] for name in asked.images or DEFAULT]
    chosen = None if asked.without_engine else engine()
    if chosen is not None:
        by_engine(chosen, images, tell)
    else:
        tell("No container engine answers here: the Dockerfiles are carried out in root folders.")
        out = REPOSITORY / "build" / "images"
        out.mkdir(parents=True, exist_ok=True)
        for tag, file in archives(images, tell).items():
            link = out / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(file)
            digest = file.with_suffix(".digest").read_text().strip()
            tell(f"{tag}: {file.stat().st_size / 2**20:,.0f} MiB, {digest}, {link.relative_to(REPOSITORY)}")
    tell(f"Done in {clock(time.monotonic() - began)}; bills of materials: build/images/*.cdx.json")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
