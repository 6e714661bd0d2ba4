"""Images as archives that `ctr images import`, `docker load` and `kind load image-archive` take."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an image says of how it is run."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str = ""
    workdir: str = "/"
    cmd: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def write_archive(file: Path, name: str, layers: Sequence[Path], settings: Settings, epoch: int) -> str:
    """Write an image of tar layers, the lowest first; return the digest of its settings, which names its content too."""
    digests = [_sha256(layer) for layer in layers]
    moment = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "created": moment,
        "config": {
            "Env": [f"{key}={value}" for key, value in settings.env.items()],
            "User": settings.user,
            "WorkingDir": settings.workdir,
            "Cmd": list(settings.cmd) or None,
            "Labels": dict(settings.labels) or None,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": moment, "created_by": "make images"} for _ in layers],
    }
    body = json.dumps(config, sort_keys=True).encode()
    digest = hashlib.sha256(body).hexdigest()
    places = [f"{each}/layer.tar" for each in digests]
    manifest = json.dumps([{"Config": f"{digest}.json", "RepoTags": [name], "Layers": places}]).encode()
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fresh, "w") as archive:
            for entry, content in ((f"{digest}.json", body), ("manifest.json", manifest)):
                archive.addfile(_entry(entry, len(content), epoch), io.BytesIO(content))
            for place, layer in zip(places, layers, strict=True):
                with layer.open("rb") as content:
                    archive.addfile(_entry(place, layer.stat().st_size, epoch), content)
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return f"sha256:{digest}"


def of_program(file: Path, name: str, program: Path, place: str = "") -> None:
    """Write the image of one static program and nothing else, at the root or at a place below it; it runs as nobody."""
    place = place or program.name
    layer = file.with_suffix(".layer")
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(layer, "w") as archive:
        info = _entry(place, program.stat().st_size, 0)
        info.mode = 0o755
        with program.open("rb") as content:
            archive.addfile(info, content)
    try:
        write_archive(file, name, [layer], Settings(user="65532:65532", cmd=[f"/{place}"]), 0)
    finally:
        layer.unlink()


def _entry(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, epoch
    return info


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
