"""A real schema registry (Apicurio, from a Maven repository) on loopback: it speaks Confluent's API. It keeps schemas in memory."""

import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from recsys_dev import processes
from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.kafka_jars import find_java
from recsys_dev.locks import locked
from recsys_dev.maven import FETCH_DEADLINE_S, MEND, find_maven
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import Child, Command

VERSION = "3.0.9"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
# Later ones of this plugin want the parent's POM, which is not published.
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:2.10:copy"
READY_DEADLINE_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRegistryServer:
    """A running registry."""

    url: str
    """Of Confluent's API."""
    child: Child

    def stop(self) -> None:
        """End it and wait until it is gone."""
        processes.stop(self.child)


def start(run_dir: Path, progress: Progress) -> SchemaRegistryServer:
    """Start a registry and return when it answers (10 s, about 300 MB).

    Raises:
        Unmet: when Java or Maven is missing, it cannot be fetched, or it does not answer.
    """
    program, java, port = ensure(progress), find_java(), free_ports(1)[0]
    options = ["-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dquarkus.http.host={LOOPBACK}", f"-Dquarkus.http.port={port}"]
    command = Command(argv=[java.program, *options, "-jar", program], cwd=program.parent)
    child = processes.start(run_dir, "schema-registry", command)
    url = f"http://{LOOPBACK}:{port}/apis/ccompat/v7"
    try:
        processes.wait_until(lambda: _answers(url), what=f"the schema registry at {url}", deadline_s=READY_DEADLINE_S, children=[child])
    except BaseException:
        processes.stop(child)
        raise
    return SchemaRegistryServer(url=url, child=child)


def ensure(progress: Progress) -> Path:
    """Return the registry's program; fetch it with Maven the first time (109 MB).

    Raises:
        Unmet: when Maven is missing, or it cannot be fetched.
    """
    folder = cache_dir() / f"apicurio-{VERSION}"
    program = folder / f"apicurio-registry-app-{VERSION}-runner.jar"
    with locked(cache_dir() / "schema-registry.lock", "fetching the schema registry", progress, deadline_s=FETCH_DEADLINE_S):
        if not program.exists():
            progress(f"Fetching the schema registry {VERSION} into {folder}: 109 MB, once.")
            _fetch(folder)
    return program


def _fetch(folder: Path) -> None:
    maven = find_maven("the schema registry")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".apicurio-") as scratch:
        argv = [maven, "-q", "-B", _COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={scratch}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=FETCH_DEADLINE_S, cwd=scratch)
        packed = list(Path(scratch).glob("*.tar.gz"))
        if not packed:
            seen = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
            raise Unmet(f"the schema registry {VERSION}", f"`mvn {_COPY}` failed with:\n{seen}\n", MEND)
        with tarfile.open(packed[0]) as archive:
            archive.extractall(Path(scratch) / "program", filter="data")
        (Path(scratch) / "program").rename(folder)


def _answers(url: str) -> bool:
    # No proxy: what we start is on loopback.
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/subjects", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
