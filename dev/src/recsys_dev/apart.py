"""Python programs of others, each in an environment of its own in the cache: nothing of ours imports them, and they pin what they like."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.locks import locked

MAKE_DEADLINE_S = 600.0


def ensure(name: str, version: str, progress: Progress, *, extras: str = "") -> Path:
    """Return the Python of an environment that has a package of this version; make it when it is missing, with the uv that the project has.

    Raises:
        Unmet: uv is missing, or the packages cannot be had.
    """
    home = cache_dir() / f"{name}-{version}"
    python = home / "bin" / "python"
    if python.exists():
        return python
    with locked(cache_dir() / f"{name}.lock", f"making an environment for {name}", progress, deadline_s=MAKE_DEADLINE_S):
        if python.exists():
            return python
        progress(f"{name} {version}: installing into {home} (about 1 min the first time)")
        fresh = home.with_name(f".{home.name}-{os.getpid()}")
        try:
            _uv(name, "venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, str(fresh))
            asked = f"{name}{extras}=={version}"
            _uv(name, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(fresh / "bin" / "python"), asked)
            fresh.rename(home)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return python


def _uv(name: str, *arguments: str) -> None:
    program = cache_dir() / "uv" / "bin" / "uv"
    if not program.exists():
        raise Unmet("the program `uv`", f"not found at {program}", "Run `make setup`, which installs it.")
    settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_SYSTEM_CERTS": os.environ.get("UV_SYSTEM_CERTS", "true")}
    done = subprocess.run(
        [program, *arguments], env=os.environ | settings, capture_output=True, text=True, check=False, timeout=MAKE_DEADLINE_S
    )
    if done.returncode:
        seen = "\n".join(done.stderr.splitlines()[-8:])
        raise Unmet(
            f"the package {name}", f"`uv {arguments[0]}` failed with:\n{seen}\n", "Check the network to the package index, then run again."
        )
