import os
import subprocess
from pathlib import Path

import pytest

from recsys_dev import cache

CONFIG = Path(__file__).parents[2] / "kind-config.yaml"


@pytest.fixture(scope="session")
def kind() -> Path:
    return cache.ensure([cache.KIND], print) / "kind"


def refusal(kind: Path, config: Path, empty: Path) -> str:
    """Return why kind makes no cluster: it reads the config strictly first, and then finds no container engine on an empty PATH."""
    environment = {**os.environ, "PATH": str(empty), "KIND_EXPERIMENTAL_PROVIDER": "docker"}
    argv = [kind, "create", "cluster", "--config", config]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode != 0
    return done.stderr


def test_kind_reads_our_config_strictly(kind: Path, tmp_path: Path):
    said = refusal(kind, CONFIG, tmp_path)
    assert "unable to decode config" not in said
    assert "docker" in said


def test_kind_would_refuse_a_field_that_it_does_not_know(kind: Path, tmp_path: Path):
    misspelt = tmp_path / "config.yaml"
    misspelt.write_text(CONFIG.read_text().replace("listenAddress", "listenAdress"))
    assert "field listenAdress not found" in refusal(kind, misspelt, tmp_path)
