"""The project's cache of programs: builds what is missing, once, and tells how long it takes.

Kubernetes, etcd and helm are built from Go modules pinned by the `go.sum` files under `dev/go`, so a machine needs no
container registry and no download site. Who has `KUBEBUILDER_ASSETS` (setup-envtest) builds next to nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recsys_dev.errors import Unmet, told
from recsys_dev.locks import locked

Progress = Callable[[str], None]
"""Receives one line of text for a person to read."""

KUBERNETES_VERSION = "v1.36.3"
HELM_VERSION = "v3.22.0"
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


def _kubernetes_flags(version: str) -> str:
    """Return the link flags without which the server calls itself v0.0.0."""
    minor = version.split(".")[1]
    values = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def _kubernetes(name: str, cold_seconds: int) -> Program:
    return Program(
        name=name,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_flags=_kubernetes_flags(KUBERNETES_VERSION),
        cold_seconds=cold_seconds,
    )


APISERVER = _kubernetes("kube-apiserver", 240)
CONTROLLER_MANAGER = _kubernetes("kube-controller-manager", 60)
KUBECTL = _kubernetes("kubectl", 20)
ETCD = Program(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3", cold_seconds=35)
HELM = Program(
    name="helm",
    module="helm",
    package="helm.sh/helm/v3/cmd/helm",
    version_flags=f"-X helm.sh/helm/v3/internal/version.version={HELM_VERSION}",
    cold_seconds=90,
)
ASSETS = (APISERVER, ETCD, KUBECTL)
"""What a setup-envtest folder holds."""


def cache_dir() -> Path:
    """Return the project's cache: `RECSYS_CACHE`, else `~/.cache/recsys-operator`."""
    named = os.environ.get("RECSYS_CACHE")
    return Path(named).expanduser().resolve() if named else Path.home() / ".cache" / "recsys-operator"


def ensure_kubernetes(progress: Progress) -> Path:
    """Return a folder with kube-apiserver, kube-controller-manager, kubectl, etcd and helm; build what is missing.

    With `KUBEBUILDER_ASSETS` the first three of setup-envtest are taken from there, and the controller-manager may be
    missing when Go is: then owned objects are not collected and namespaces never finish their deletion.

    Raises:
        Unmet: when Go is missing or a build fails; says which, and how to mend it.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given:
        return _beside_assets(Path(given).expanduser().resolve(), progress)
    return ensure((APISERVER, CONTROLLER_MANAGER, KUBECTL, ETCD, HELM), progress)


def ensure(programs: Sequence[Program], progress: Progress) -> Path:
    """Build those of `programs` whose stamp is missing or old; return the folder that holds them all."""
    folder = cache_dir() / "bin"
    if not any(_is_stale(program, folder) for program in programs):
        return folder
    with locked(cache_dir() / "build.lock", "building Kubernetes", progress, deadline_s=BUILD_DEADLINE_S):
        # Looked at again: another run may have built them while this one waited.
        stale = [program for program in programs if _is_stale(program, folder)]
        if stale:
            minutes = sum(program.cold_seconds for program in stale) / 60
            names = ", ".join(program.name for program in stale)
            progress(f"Building {names} into {folder}: about {minutes:.0f} min the first time on 2 cores, seconds later.")
        for program in stale:
            _build(program, folder, progress)
    return folder


def _beside_assets(assets: Path, progress: Progress) -> Path:
    """Return a folder of links: the given programs, and ours where they have none."""
    missing = [program.name for program in ASSETS if not os.access(assets / program.name, os.X_OK)]
    if missing:
        raise Unmet(
            "KUBEBUILDER_ASSETS",
            f"{assets} has no executable {', '.join(missing)}",
            "Point it at a folder that setup-envtest filled, or unset it and they are built.",
        )
    progress(f"Using kube-apiserver, etcd and kubectl of KUBEBUILDER_ASSETS={assets}.")
    linked = cache_dir() / f"assets-{hashlib.sha256(str(assets).encode()).hexdigest()[:8]}"
    linked.mkdir(parents=True, exist_ok=True)
    for program in (*ASSETS, CONTROLLER_MANAGER, HELM):
        source = assets / program.name
        if not source.exists():
            source = _substitute(program, progress)
        if source is not None:
            _link(linked / program.name, source)
    return linked


def _substitute(program: Program, progress: Progress) -> Path | None:
    """Return a program that the assets folder lacks: built, or found on PATH; None when it can be done without."""
    if shutil.which("go") is not None or not _is_stale(program, cache_dir() / "bin"):
        return ensure((program,), progress) / program.name
    on_path = shutil.which(program.name)
    if on_path is not None:
        return Path(on_path)
    if program is CONTROLLER_MANAGER:
        progress("Without kube-controller-manager (no Go to build it): owned objects are not collected when owners go.")
        return None
    raise _no_go()


def _link(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def fingerprint(program: Program) -> str:
    """Return what a built program depends on, as a SHA-256: module files, package and flags."""
    digest = hashlib.sha256(f"{program.package} {program.version_flags}".encode())
    for path in sorted(MODULES.joinpath(program.module).glob("*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _stamp(program: Program, folder: Path) -> Path:
    return folder / ".stamps" / program.name


def _is_stale(program: Program, folder: Path) -> bool:
    try:
        return _stamp(program, folder).read_text() != fingerprint(program) or not os.access(folder / program.name, os.X_OK)
    except OSError:
        return True


def _no_go() -> Unmet:
    return Unmet(
        "the program `go` (1.26 or later), which builds Kubernetes from its modules",
        "not found on PATH",
        "Install Go and put its bin folder on PATH, or set KUBEBUILDER_ASSETS to a folder that setup-envtest filled.",
    )


def _build(program: Program, folder: Path, progress: Progress) -> None:
    """Build one program beside its place and rename it there, so that a broken build leaves the old one."""
    if shutil.which("go") is None:
        raise _no_go()
    stamp = _stamp(program, folder)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{program.name}.{os.getpid()}"
    wanted = fingerprint(program)
    flags = f"-s -w {program.version_flags}".strip()
    argv = ["go", "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(fresh), program.package]
    began = time.monotonic()
    progress(f"{program.name}: building (cold about {_clock(program.cold_seconds)})")
    try:
        lines = _run_telling(program, argv, progress)
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
    progress(f"{program.name}: built in {_clock(time.monotonic() - began)}, {size:.0f} MiB")


def _run_telling(program: Program, argv: Sequence[str], progress: Progress) -> list[str]:
    """Run `go build`, telling every few seconds how far it is; return the last lines that it printed."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    if "HOME" not in environment:  # Go finds no place for its caches then
        environment.setdefault("GOPATH", str(cache_dir() / "go"))
        environment.setdefault("GOCACHE", str(cache_dir() / "go-build"))
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
                progress(f"{program.name}: {_clock(elapsed)} of about {_clock(program.cold_seconds)}; {_what(lines)}")
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


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def main() -> int:
    """Build whatever is missing, telling how far it is: `python -m recsys_dev.cache`."""
    console = Console(stderr=False, highlight=False)
    ensure_kubernetes(lambda line: console.print(line, markup=False))
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
