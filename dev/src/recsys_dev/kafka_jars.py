"""The programs of a Kafka broker: jars from a Maven repository, and a class-data archive that makes them start fast."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.locks import locked
from recsys_dev.maven import FETCH_DEADLINE_S, copy_jars

KAFKA_VERSION = "4.3.1"
POM = Path(__file__).resolve().parents[2] / "maven" / "kafka" / "pom.xml"
LEAST_JAVA = 17
HEAP = ("-Xms64m", "-Xmx256m")
FAST_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:disable")
LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-Dorg.slf4j.simpleLogger.showDateTime=true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A Java program and the version that it states, such as 17.0.15."""

    program: Path
    version: str


def find_java() -> Java:
    """Return the Java of `JAVA_HOME`, else the one on PATH.

    Raises:
        Unmet: when there is none, or it is older than Kafka's brokers need.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    mend = f"Install a Java {LEAST_JAVA} or later, and set JAVA_HOME or put it on PATH."
    if found is None:
        raise Unmet("java for the Kafka brokers", f"no `java` in {f'JAVA_HOME={home}' if home else 'PATH'}", mend)
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, timeout=60)
    match = re.search(r'version "((\d+)[^"]*)"', told.stderr + told.stdout)
    if match is None:
        raise Unmet(f"{found} -version", f"exit status {told.returncode}: {(told.stderr + told.stdout)[:200]!r}", mend)
    if int(match[2]) < LEAST_JAVA:
        raise Unmet(f"java at {found}", f"version {match[1]}, Kafka {KAFKA_VERSION} needs {LEAST_JAVA}", mend)
    return Java(program=Path(found), version=match[1])


def ensure_jars(progress: Progress) -> Path:
    """Return the folder with the broker's jars; fetch them with Maven the first time (10 s, 44 MB).

    Raises:
        Unmet: when Java or Maven is missing, or the jars cannot be fetched.
    """
    find_java()
    folder = cache_dir() / f"kafka-{KAFKA_VERSION}"
    if folder.is_dir():
        return folder
    with locked(cache_dir() / "kafka.lock", "fetching Kafka", progress, deadline_s=FETCH_DEADLINE_S):
        if not folder.is_dir():  # looked at again: another run may have fetched it while this one waited
            progress(f"Fetching the jars of Kafka {KAFKA_VERSION} into {folder}: about 10 s, 44 MB.")
            copy_jars(POM, folder, what=f"Kafka {KAFKA_VERSION}", sign=f"kafka_2.13-{KAFKA_VERSION}.jar")
    return folder


def archive(jars: Path, java: Java) -> Path:
    """Return where the class-data archive of these jars and this Java belongs (it may not be there yet)."""
    return jars / f"classes-{java.version}.jsa"


def java_command(jars: Path, java: Java, main: Sequence[str | Path], *, options: Sequence[str] = ()) -> list[str | Path]:
    """Return the words that run one of Kafka's main classes, from the class-data archive when there is one."""
    # The archive names the class path that it was made with, so the order must never change.
    class_path = os.pathsep.join(str(path) for path in sorted(jars.glob("*.jar")))
    shared = archive(jars, java)
    # -Xshare:auto makes an archive that does not fit cost time only.
    found = (f"-XX:SharedArchiveFile={shared}",) if shared.exists() and not options else ()
    return [java.program, *HEAP, *FAST_START, *LOGGING, *found, *options, "-cp", class_path, *main]


def ensure_archive(jars: Path, java: Java, progress: Progress, run_once: Callable[[Sequence[str]], None]) -> None:
    """Make the class-data archive by one run of a broker, unless it is there (10 s once; a start takes half as long after).

    Args:
        jars: the folder of `ensure_jars`.
        java: the Java that will run the brokers.
        progress: is told in one line before the work begins.
        run_once: starts a broker with the options given, waits until it is ready and ends it in good order.
    """
    wanted = archive(jars, java)
    if wanted.exists():
        return
    with locked(cache_dir() / "kafka.lock", "preparing Kafka", progress, deadline_s=FETCH_DEADLINE_S):
        if wanted.exists():
            return
        progress("Preparing Kafka's class-data archive: about 10 s, once.")
        fresh = wanted.with_name(f".{wanted.name}.{os.getpid()}")
        try:
            run_once((f"-XX:ArchiveClassesAtExit={fresh}",))
            if fresh.exists():
                fresh.replace(wanted)
            else:
                progress("No class-data archive came of it; Kafka starts without, a few seconds slower.")
        finally:
            fresh.unlink(missing_ok=True)


if __name__ == "__main__":
    ensure_jars(lambda line: print(line, flush=True))
