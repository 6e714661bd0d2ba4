"""Builds one program from a pinned Go module, telling every few seconds how far it is."""

import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev.errors import Unmet

Progress = Callable[[str], None]
"""Receives one line of text for a person to read."""

MODULES = Path(__file__).resolve().parents[2] / "go"
BUILD_DEADLINE_S = 3600.0
TELL_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program built from a pinned Go module; `cold_seconds` is what two cores took with nothing cached."""

    name: str
    module: str
    package: str
    version_flags: str = ""
    cold_seconds: int


def fingerprint(program: Program) -> str:
    """Return what a built program depends on, as a SHA-256: module files, package and flags."""
    digest = hashlib.sha256(f"{program.package} {program.version_flags}".encode())
    for path in sorted(MODULES.joinpath(program.module).glob("*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _stamp(program: Program, folder: Path) -> Path:
    return folder / ".stamps" / program.name


def is_stale(program: Program, folder: Path) -> bool:
    """Return whether a program has to be built: missing, or of other module files than those that lie here."""
    try:
        return _stamp(program, folder).read_text() != fingerprint(program) or not os.access(folder / program.name, os.X_OK)
    except OSError:
        return True


def no_go() -> Unmet:
    """Return the error for a machine without Go."""
    return Unmet(
        "the program `go` (1.26 or later), which builds Kubernetes from its modules",
        "not found on PATH",
        "Install Go and put its bin folder on PATH, or set KUBEBUILDER_ASSETS to a folder that setup-envtest filled.",
    )


def build(program: Program, folder: Path, cache: Path, progress: Progress) -> None:
    """Build one program beside its place and rename it there, so that a broken build leaves the old one."""
    if shutil.which("go") is None:
        raise no_go()
    stamp = _stamp(program, folder)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{program.name}.{os.getpid()}"
    wanted = fingerprint(program)
    flags = f"-s -w {program.version_flags}".strip()
    argv = ["go", "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(fresh), program.package]
    began = time.monotonic()
    progress(f"{program.name}: building (cold about {clock(program.cold_seconds)})")
    try:
        lines = _run_telling(program, argv, cache, progress)
        if not fresh.exists():
            raise Unmet(
                f"building {program.name}",
                "`go build` failed with:\n" + "\n".join(lines[-12:]) + "\n",
                "Check the network to the Go module proxy (GOPROXY) and the free disk space (10 GB cold), then run again.",
            )
        fresh.replace(folder / program.name)
    finally:
        fresh.unlink(missing_ok=True)
    stamp.write_text(wanted)
    size = folder.joinpath(program.name).stat().st_size / 2**20
    progress(f"{program.name}: built in {clock(time.monotonic() - began)}, {size:.0f} MiB")


def _run_telling(program: Program, argv: Sequence[str], cache: Path, progress: Progress) -> list[str]:
    """Run `go build`, telling every few seconds how far it is; return the last lines that it printed."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    if not environment.get("HOME"):  # Go finds no place for its caches then
        environment.setdefault("GOPATH", str(cache / "go"))
        environment.setdefault("GOCACHE", str(cache / "go-build"))
    process = subprocess.Popen(
        argv, cwd=MODULES / program.module, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
    reader.start()
    began = time.monotonic()
    try:
        while reader.is_alive():
            reader.join(TELL_EVERY_S)
            elapsed = time.monotonic() - began
            if elapsed > BUILD_DEADLINE_S:
                raise Unmet(f"building {program.name}", f"not done after {BUILD_DEADLINE_S:.0f} s", "Run it again.")
            if reader.is_alive():
                progress(f"{program.name}: {clock(elapsed)} of about {clock(program.cold_seconds)}; {_what(lines)}")
        process.wait()
    finally:
        if process.poll() is None:  # Ctrl-C, or the deadline
            process.kill()
            process.wait()
    return lines


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None
    lines.extend(line.rstrip() for line in process.stdout)


def _what(lines: Sequence[str]) -> str:
    downloads = sum(line.startswith("go: downloading") for line in lines)
    compiled = len(lines) - downloads
    return f"{downloads} modules downloaded, {compiled} packages compiled" if downloads else f"{compiled} packages compiled"


def clock(seconds: float) -> str:
    """Return a duration for a person."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
