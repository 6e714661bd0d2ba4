"""Jars from a Maven repository, copied into the project's cache."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from recsys_dev.errors import Unmet

FETCH_DEADLINE_S = 900.0
MEND = "Check the network to the Maven repository (~/.m2/settings.xml names a mirror), then run again."


def find_maven(fetches: str) -> str:
    """Return Maven's program.

    Raises:
        Unmet: it is not on PATH; names what it would fetch.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise Unmet(f"the program `mvn` (Apache Maven 3.6 or later), which fetches {fetches}", "not found on PATH", "Install Maven.")
    return maven


def copy_jars(pom: Path, folder: Path, *, what: str, sign: str) -> None:
    """Copy a POM's runtime dependencies beside their place and rename them there, so that a broken fetch leaves nothing.

    Args:
        pom: what is wanted, versions and all.
        folder: where the jars belong; it must not be there yet.
        what: their name in messages.
        sign: the name of one jar without which the others are of no use.

    Raises:
        Unmet: Maven is missing, or they cannot be fetched.
    """
    maven = find_maven(what)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "jars"
        argv = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=FETCH_DEADLINE_S, cwd=scratch)
            seen = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        except subprocess.TimeoutExpired:
            seen = f"not done after {FETCH_DEADLINE_S:.0f} s"
        if not (fresh / sign).exists():
            raise Unmet(f"the jars of {what}", f"`mvn dependency:copy-dependencies` failed with:\n{seen}\n", MEND)
        fresh.rename(folder)
