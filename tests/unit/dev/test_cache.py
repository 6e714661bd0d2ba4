import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from recsys_dev import cache, go_build
from recsys_dev.errors import Unmet, told
from recsys_dev.go_build import Program

HELLO = Program(name="hello", module="hello", package="example.org/hello", cold_seconds=1)
SOURCE = 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("one") }\n'
REASON = "needs Go, which builds the control plane too"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny Go module, in place of the pinned ones, with an empty cache."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(go_build, "MODULES", tmp_path / "go")
    folder = tmp_path / "go" / "hello"
    folder.mkdir(parents=True)
    folder.joinpath("go.mod").write_text("module example.org/hello\n\ngo 1.21\n")
    folder.joinpath("main.go").write_text(SOURCE)
    return folder


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def silent(line: str) -> None:
    assert line


def said(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("go") is None, reason=REASON)
def test_a_program_is_built_once_and_again_when_its_module_changes(module: Path):
    told_lines: list[str] = []
    program = cache.ensure([HELLO], told_lines.append) / "hello"
    assert said(program) == "one"
    assert any("hello: built in" in line for line in told_lines)
    told_lines.clear()
    cache.ensure([HELLO], told_lines.append)
    assert told_lines == []
    module.joinpath("main.go").write_text(SOURCE.replace("one", "two"))
    cache.ensure([HELLO], silent)
    assert said(program) == "two"


@pytest.mark.skipif(shutil.which("go") is None, reason=REASON)
def test_a_build_that_fails_says_why_and_leaves_the_old_program(module: Path):
    program = cache.ensure([HELLO], silent) / "hello"
    module.joinpath("main.go").write_text("package main\n\nfunc main() { undefinedWord() }\n")
    with pytest.raises(Unmet, match=r"building hello: `go build` failed with:\n(?s:.*)undefined: undefinedWord"):
        cache.ensure([HELLO], silent)
    assert said(program) == "one"
    assert sorted(path.name for path in program.parent.iterdir()) == [".stamps", "hello"]


@pytest.mark.skipif(shutil.which("go") is None, reason=REASON)
def test_two_runs_at_once_build_once(module: Path):
    assert module.exists()
    lines: list[str] = []
    # The first build on a machine makes Go's own library too.
    runs = [threading.Thread(target=cache.ensure, args=([HELLO], lines.append)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(timeout=600)
    assert sum("built in" in line for line in lines) == 1


@pytest.mark.usefixtures("no_path")
def test_without_go_the_error_names_go_and_the_mend(module: Path, capsys: pytest.CaptureFixture[str]):
    assert module.exists()

    def main() -> int:
        cache.ensure([HELLO], silent)
        return 0

    assert told(main) == 2
    error = capsys.readouterr().err
    assert "the program `go`" in error
    assert "not found on PATH" in error
    assert "KUBEBUILDER_ASSETS" in error
    assert "Traceback" not in error


def assets(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        folder.joinpath(name).write_text("#!/bin/sh\n")
        folder.joinpath(name).chmod(0o755)
    return folder


def test_an_assets_folder_that_lacks_a_program_is_refused_by_its_name(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert module.exists()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets(tmp_path / "assets", "kubectl", "etcd")))
    with pytest.raises(Unmet, match=r"KUBEBUILDER_ASSETS: .* has no executable kube-apiserver"):
        cache.ensure_kubernetes(silent)


@pytest.mark.usefixtures("no_path")
def test_given_assets_are_used_without_go_and_the_missing_controllers_are_told(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert module.exists()
    given = assets(tmp_path / "assets", "kubectl", "etcd", "kube-apiserver", "helm")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given))
    lines: list[str] = []
    folder = cache.ensure_kubernetes(lines.append)
    assert folder.joinpath("kube-apiserver").resolve() == given / "kube-apiserver"
    assert not os.path.lexists(folder / "kube-controller-manager")
    assert any("Without kube-controller-manager" in line for line in lines)


@pytest.mark.usefixtures("no_path")
def test_a_program_that_no_one_has_is_named_with_the_ways_to_get_it(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert module.exists()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets(tmp_path / "assets", "kubectl", "etcd", "kube-apiserver")))
    with pytest.raises(Unmet, match="the program `helm`: not in KUBEBUILDER_ASSETS, not on PATH"):
        cache.ensure_kubernetes(silent)
