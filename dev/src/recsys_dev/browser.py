"""Pictures of pages, by a browser without a screen."""

import shutil
import subprocess
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DEADLINE_S = 120.0
_QUIET = ("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def browser() -> str | None:
    """The browser that is on the PATH; None where there is none."""
    return next((found for each in BROWSERS if (found := shutil.which(each))), None)


def picture(program: str, url: str, file: Path, *, size: str, settle_ms: int = 0) -> None:
    """Take a picture of a page's first screen, once its scripts have had so many milliseconds of their own time.

    Raises:
        subprocess.SubprocessError: the browser failed, or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-browser-") as folder:
        waits = [f"--virtual-time-budget={settle_ms}"] if settle_ms else []
        ours = [f"--user-data-dir={folder}/profile", f"--window-size={size}", f"--screenshot={file}", *waits, url]
        subprocess.run([program, *_QUIET, *ours], check=True, capture_output=True, timeout=DEADLINE_S)
