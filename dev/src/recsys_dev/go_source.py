"""The sources of Go modules that carry more than programs: the definitions and manifests of other operators, pinned as the programs are."""

import json
import os
import subprocess
from pathlib import Path

from recsys_dev.errors import Unmet
from recsys_dev.go_build import MODULES

FETCH_DEADLINE_S = 300.0


def source(module: str, version: str, pinned_by: str) -> Path:
    """Return the folder of a module's source; fetch it the first time.

    Args:
        module: its path, such as `github.com/ray-project/kuberay/ray-operator`.
        version: such as `v1.6.2`.
        pinned_by: folder of `dev/go` whose go.sum has its hash.

    Raises:
        Unmet: Go cannot fetch it.
    """
    argv = ["go", "mod", "download", "-json", f"{module}@{version}"]
    environment = {**os.environ, "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    folder = MODULES / pinned_by
    try:
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=FETCH_DEADLINE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unmet(f"{module} {version}", str(error), "Install Go, and check the network to its module proxy.") from error
    return Path(json.loads(done.stdout)["Dir"])
