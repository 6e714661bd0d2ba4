"""The peer: Spark Structured Streaming, whose jars are fetched into the project's cache; nothing of the product needs it."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from bench.ingest.measured import Cost, Measured
from bench.ingest.topics import bad_of
from bench.ingest.visible import Publication
from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.kafka_jars import find_java
from recsys_dev.locks import locked
from recsys_dev.maven import FETCH_DEADLINE_S, copy_jars

VERSION = "4.0.0"
"""As in the POM."""
HEAP_MIB = 1024
"""Spark's own default for a driver."""
SOURCE = Path(__file__).with_name("SparkIngest.java")
POM = Path(__file__).resolve().parents[3] / "dev" / "maven" / "spark" / "pom.xml"
# What Spark's own launcher opens for it on Java 17 and later.
_OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)


def ensure(progress: Progress) -> Path:
    """Return the folder of Spark's jars; fetch them with Maven the first time.

    Raises:
        Unmet: Java or Maven is missing, or they cannot be fetched.
    """
    find_java()
    folder = cache_dir() / f"spark-{VERSION}"
    with locked(cache_dir() / "spark.lock", "fetching Spark", progress, deadline_s=FETCH_DEADLINE_S):
        if not folder.is_dir():
            progress(f"Fetching the jars of Spark {VERSION} into {folder}: 280 MB, about 1 min, once; only this bench needs them.")
            copy_jars(POM, folder, what=f"Spark {VERSION}", sign=f"spark-sql-kafka-0-10_2.13-{VERSION}.jar")
    return folder


def compiled(jars: Path, folder: Path) -> Path:
    """Compile the peer's program into a folder.

    Raises:
        Unmet: there is no compiler beside Java, or it refuses.
    """
    compiler = find_java().program.with_name("javac")
    argv = [str(compiler), "-proc:none", "-cp", f"{jars}/*", "-d", str(folder), str(SOURCE)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    except OSError as error:
        raise Unmet(f"the Java compiler {compiler}", str(error), "Install a JDK; a JRE has none.") from error
    if done.returncode:
        raise Unmet(f"{SOURCE.name} compiled", done.stderr[-500:], "The JDK must be 17 or later.")
    return folder


class Spark:
    """Starts the peer's program."""

    def __init__(self, jars: Path, classes: Path) -> None:
        opened = [word for package in _OPENED for word in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]
        vectors = ["--add-modules=jdk.incubator.vector"]
        self._java = [find_java().program, f"-Xmx{HEAP_MIB}m", *vectors, *opened, "-cp", f"{classes}{os.pathsep}{jars}/*", "SparkIngest"]

    def start(self, servers: str, topic: str, folder: Path, every_ms: int) -> Measured:
        return Measured([*self._java, servers, topic, str(folder), str(every_ms)], folder.with_suffix(".log"))

    def catch_up(self, servers: str, topic: str, events: int, folder: Path) -> Cost:
        """Read the whole topic and end; checks that no row is missing."""
        with self.start(servers, topic, folder, 0) as child:
            cost = child.end(0.0)
            told = {name: int(at) for name, at in (line.split() for line in child.log.read_text().splitlines() if _is_mark(line))}
        rows = sum(pq.read_metadata(path).num_rows for path in folder.joinpath("rows").glob("*.parquet"))
        if rows != events - bad_of(events):
            raise RuntimeError(f"Spark wrote {rows} rows of {events - bad_of(events)}")
        return Cost(seconds=(told["ended"] - told["started"]) / 1000, cpu_s=cost.cpu_s, peak_mib=cost.peak_mib)


def _is_mark(line: str) -> bool:
    return line.startswith(("started ", "ended "))


def publications(folder: Path) -> list[Publication]:
    """Each batch that its sink's log names, and when that name was in place."""
    found: list[Publication] = []
    for path in folder.joinpath("rows", "_spark_metadata").iterdir():
        number = path.name.removesuffix(".compact")
        if number.isdigit():
            told = folder.joinpath("checkpoint", "offsets", number).read_text().splitlines()[-1]
            ends: Mapping[str, Mapping[str, int]] = json.loads(told)
            covers = {int(partition): end for partition, end in next(iter(ends.values())).items()}
            found.append(Publication(at_ms=path.stat().st_ctime_ns / 1e6, covers=covers))
    return found
