"""What shaped the bytes of a version besides its data and its job: libraries, our own code, and the machine."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from threadpoolctl import threadpool_info

import ray_apps

LIBRARIES = (
    "ray-apps",
    "recsys-schemas",
    "implicit",
    "numpy",
    "scipy",
    "numba",
    "pyarrow",
    "deltalake",
    "threadpoolctl",
    "ray",
    "jax",
    "jaxlib",
    "optax",
)
"""Packages whose code shapes the result; those that are optional are named where they are installed."""
PARTS = ("algorithms", "evaluation", "stores", "training")
"""Our own packages that a version passes through."""


def libraries() -> dict[str, str]:
    """Python and the packages of `LIBRARIES` → version, as installed here."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def code() -> dict[str, str]:
    """Part of the Ray apps → `sha256:` over the `sha256  path` lines of its source files, sorted. Needs no git and no release."""
    root = Path(ray_apps.__file__).parent
    return {part: digest_of_sources(root / part) for part in PARTS}


def digest_of_sources(folder: Path) -> str:
    """The digest of one package's `.py` files, by their bytes and their places below it."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in folder.rglob("*.py")]
    return "sha256:" + hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def machine() -> dict[str, str]:
    """The platform, and each library of linear algebra with the kernels that it chose for this processor."""
    found = {"platform": f"{platform.system()} {platform.machine()}"}
    for each in threadpool_info():
        if each["user_api"] == "blas":
            words = f"{each['internal_api']} {each.get('version') or '?'} ({each.get('architecture') or 'unknown'})"
            found["blas"] = ", ".join(sorted({*found.get("blas", words).split(", "), words}))
    return found
