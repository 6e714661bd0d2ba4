"""The project's cache of programs: builds what is missing, once, and tells how long it takes.

Kubernetes, etcd and helm are built from Go modules pinned by the `go.sum` files under `dev/go`, so a machine needs no
container registry and no download site. Who has `KUBEBUILDER_ASSETS` (setup-envtest) builds next to nothing.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from recsys_dev.errors import Unmet, told
from recsys_dev.go_build import BUILD_DEADLINE_S, Program, Progress, build, clock, is_stale, no_go
from recsys_dev.locks import locked

KUBERNETES_VERSION = "v1.36.3"
HELM_VERSION = "v3.22.0"


def _kubernetes_flags(version: str) -> str:
    """Return the link flags without which the server calls itself v0.0.0."""
    minor = version.split(".")[1]
    values = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def of_kubernetes(name: str, cold_seconds: int, module: str = "kubernetes") -> Program:
    """One of Kubernetes' own programs, built from the module that pins it."""
    return Program(
        name=name,
        module=module,
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_flags=_kubernetes_flags(KUBERNETES_VERSION),
        cold_seconds=cold_seconds,
    )


APISERVER = of_kubernetes("kube-apiserver", 240)
CONTROLLER_MANAGER = of_kubernetes("kube-controller-manager", 60)
KUBECTL = of_kubernetes("kubectl", 20)
ETCD = Program(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3", cold_seconds=35)
HELM = Program(
    name="helm",
    module="helm",
    package="helm.sh/helm/v3/cmd/helm",
    version_flags=f"-X helm.sh/helm/v3/internal/version.version={HELM_VERSION}",
    cold_seconds=90,
)
KIND = Program(name="kind", module="kind", package="sigs.k8s.io/kind", cold_seconds=45)
"""Runs no cluster here; its strict reader checks kind-config.yaml."""
KUBE_SCORE = Program(name="kube-score", module="kube-score", package="github.com/zegl/kube-score/cmd/kube-score", cold_seconds=60)
"""Judges what the chart renders."""
KUBECONFORM = Program(name="kubeconform", module="kubeconform", package="github.com/yannh/kubeconform/cmd/kubeconform", cold_seconds=15)
"""Holds what the chart renders against the schemas of its kinds."""
LOADGEN = Program(name="loadgen", module="loadgen", package=".", cold_seconds=10)
"""Our own, of the standard library alone: asks over HTTP in open or closed loop."""
PROGRAMS = (APISERVER, CONTROLLER_MANAGER, KUBECTL, ETCD, HELM)
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
    return ensure(PROGRAMS, progress)


def ensure(programs: Sequence[Program], progress: Progress) -> Path:
    """Build those of `programs` whose stamp is missing or old; return the folder that holds them all."""
    folder = cache_dir() / "bin"
    if not any(is_stale(program, folder) for program in programs):
        return folder
    with locked(cache_dir() / "build.lock", "building Kubernetes", progress, deadline_s=BUILD_DEADLINE_S):
        # Looked at again: another run may have built them while this one waited.
        stale = [program for program in programs if is_stale(program, folder)]
        if stale and shutil.which("go") is None:
            raise no_go()
        if stale:
            cold = clock(sum(program.cold_seconds for program in stale))
            names = ", ".join(program.name for program in stale)
            progress(f"Building {names} into {folder}: about {cold} the first time on 2 cores, seconds later.")
        for program in stale:
            build(program, folder, cache_dir(), progress)
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
    if shutil.which("go") is not None or not is_stale(program, cache_dir() / "bin"):
        return ensure((program,), progress) / program.name
    on_path = shutil.which(program.name)
    if on_path is not None:
        return Path(on_path)
    if program is CONTROLLER_MANAGER:
        progress("Without kube-controller-manager (no Go to build it): owned objects are not collected when owners go.")
        return None
    raise Unmet(
        f"the program `{program.name}`",
        "not in KUBEBUILDER_ASSETS, not on PATH, and no `go` to build it",
        f"Install Go 1.26 or later, or put {program.name} into that folder or on PATH.",
    )


def _link(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def main() -> int:
    """Build whatever is missing, telling how far it is: `python -m recsys_dev.cache [program ...]`."""
    console = Console(highlight=False, soft_wrap=True)

    def tell(line: str) -> None:
        console.print(line, markup=False)

    asked = sys.argv[1:]
    known = {program.name: program for program in (*PROGRAMS, KIND, KUBE_SCORE, KUBECONFORM, LOADGEN)}
    for name in asked:
        if name not in known:
            raise Unmet("program to build", name, f"Known are: {', '.join(known)}.")
    if asked:
        ensure([known[name] for name in asked], tell)
    else:
        ensure_kubernetes(tell)
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
