"""What the brokers need and this machine has not: named with what was found and the mend."""

from pathlib import Path

import pytest

from recsys_dev.errors import Unmet
from recsys_dev.kafka_jars import ensure_jars, find_java


def silent(line: str) -> None:
    assert line


def java(home: Path, version: str) -> Path:
    """A `java` that only states a version."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return program


def test_without_java_the_error_names_it_and_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(Unmet, match=r"java for the Kafka brokers: no `java` in PATH\. Install a Java 17 or later"):
        find_java()


def test_a_java_home_without_java_is_named_with_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(Unmet, match=rf"no `java` in JAVA_HOME={tmp_path}\. .*set JAVA_HOME or put it on PATH"):
        find_java()


def test_a_java_too_old_is_refused_with_its_version_and_the_least_that_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    program = java(tmp_path, "11.0.2")
    with pytest.raises(Unmet, match=rf"java at {program}: version 11\.0\.2, Kafka [0-9.]+ needs 17\. Install"):
        find_java()


def test_without_maven_the_error_names_it_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    java(tmp_path / "jdk", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Unmet, match=r"the program `mvn` .*not found on PATH\. Install Maven"):
        ensure_jars(silent)
