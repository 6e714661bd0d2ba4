"""Libraries that our metrics and estimators are held against, in a venv of their own: they pin an older numpy than ours.

They are called as programs, over files of arrays, so nothing of ours imports them.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.locks import locked

FOLDER = Path(__file__).resolve().parents[2] / "peers"
PINNED = FOLDER / "requirements.txt"
INSTALL_DEADLINE_S, RUN_DEADLINE_S = 500.0, 300.0
Arrays = Mapping[str, NDArray[np.generic]]
"""By name."""


def ensure_peers(progress: Progress) -> Path:
    """Return the Python of the peers' venv; make it the first time (1 min, 400 MB).

    Raises:
        Unmet: uv is not where `make setup` puts it, or the packages cannot be installed.
    """
    sign = hashlib.sha256(PINNED.read_bytes() + platform.python_version().encode()).hexdigest()[:12]
    folder = cache_dir() / f"peers-{sign}"
    ready = folder / ".installed"
    if ready.exists():
        return folder / "bin" / "python"
    with locked(cache_dir() / "peers.lock", "installing peers", progress, deadline_s=INSTALL_DEADLINE_S):
        if not ready.exists():  # looked at again: another run may have made it while this one waited
            progress(f"Installing RecTools and Open Bandit Pipeline into {folder}: about 1 min, 400 MB.")
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--quiet", "--require-hashes", "--python", str(folder / "bin" / "python"), "--requirements", str(PINNED))
            ready.touch()
    return folder / "bin" / "python"


def _uv(*words: str) -> None:
    uv = cache_dir() / "uv" / "bin" / "uv"
    mend = "Check the network to the package index, then run again."
    if not uv.exists():
        raise Unmet("the program uv", f"not at {uv}", "Run `make setup`, which installs it.")
    certificates = os.environ.get("UV_SYSTEM_CERTS", "true")
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_SYSTEM_CERTS": certificates}
    try:
        ended = subprocess.run(
            [uv, *words], capture_output=True, text=True, check=False, timeout=INSTALL_DEADLINE_S, env=environment, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Unmet(f"uv {' '.join(words[:2])} for {PINNED}", f"not done after {INSTALL_DEADLINE_S:.0f} s", mend) from None
    if ended.returncode:
        raise Unmet(f"uv {' '.join(words[:2])} for {PINNED}", (ended.stderr or ended.stdout)[-800:].strip(), mend)


def ask(program: str, given: Arrays, progress: Progress) -> dict[str, NDArray[np.float64]]:
    """Run one of the programs beside the pins on some arrays, and return its arrays.

    Raises:
        Unmet: the venv cannot be made, or the program failed; with its last words.
    """
    python = ensure_peers(progress)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        told, answer = Path(folder, "in.npz"), Path(folder, "out.npz")
        arrays = {name: np.asarray(array) for name, array in given.items()}
        np.savez(told, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType] — by name
        words = [python, "-I", FOLDER / program, told, answer]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=RUN_DEADLINE_S, stdin=subprocess.DEVNULL)
        if ended.returncode:
            raise Unmet(f"{program} with {python}", ended.stderr[-800:].strip(), "Remove that venv, and run again.")
        with np.load(answer) as found:
            return {name: found[name] for name in found.files}


if __name__ == "__main__":
    ensure_peers(lambda line: print(line, flush=True))
