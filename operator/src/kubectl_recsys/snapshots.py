"""Snapshots of a model: the model says where they are, and the command `recsys`, which can read them, does the rest.

Rows are read with pyarrow and deltalake, which the operator and this plugin do without; so the tool that comes with the Ray apps is called.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

from kubectl_recsys.views import find_model
from recsys_operator.plan.ingest import job_of
from recsys_operator.state.observed import ModelState
from recsys_operator.world.connection import Connection, read_connection
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Kube
from recsys_schemas.kafka_access import FOLDER

TOOL = "recsys"


async def snapshots(kube: Kube, namespace: str, name: str, word: str, more: Sequence[str]) -> int:
    """Run `recsys snapshots WORD` on a model's store, and return its exit status.

    Raises:
        RefusedError: there is no such model, its store is not known yet, the tool is not installed here, or a Secret cannot be used.
    """
    model = await find_model(kube, namespace, name)
    uri = store_of(model)
    tool = find_tool(["snapshots", word, uri, *more])
    compared = ["--job", _job(model, uri)] if word == "verify" else []
    connection = await read_connection(kube, model) if compared else None
    with mounted(connection) as environment:
        child = await asyncio.create_subprocess_exec(tool, "snapshots", word, uri, *more, *compared, env=environment)
        return await child.wait()


def store_of(model: ModelState) -> str:
    """Where a model's snapshots and versions are.

    Raises:
        RefusedError: that is not known yet.
    """
    uri = model.spec.data.snapshot.storage_uri or (model.status.ingestion.storage_uri if model.status.ingestion else "")
    if not uri:
        raise RefusedError(f"{model.key} has no snapshot yet: the operator has not said where its store is; see `kubectl recsys status`")
    return uri


def find_tool(asked: Sequence[str]) -> str:
    """The tool beside this plugin, or on PATH.

    Raises:
        RefusedError: it is in neither place; the message says what to run where the package is.
    """
    tool = _tool()
    if tool is None:
        mend = "install the package ray-apps here, or where the store can be reached"
        raise RefusedError(f"the tool {TOOL!r}, which reads the store, is not on PATH; {mend}: {TOOL} {' '.join(asked)}")
    return tool


@contextlib.contextmanager
def mounted(connection: Connection | None) -> Generator[dict[str, str]]:
    """Give the tool a model's credentials as a Ray cluster does, as files: they are in a folder of this user's alone, as long as it runs.

    A folder that the user has named already is left as it is.
    """
    environment = dict(os.environ)
    if connection is None or connection.security is None or FOLDER in environment:
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="recsys-secrets-") as root:
        for what, ref in connection.security.named().items():
            place = Path(root) / connection.security.namespace / ref.secret / ref.key
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(connection.secrets.values[what])
        yield environment | {FOLDER: root}


def _tool() -> str | None:
    """The tool beside this plugin, or on PATH."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), TOOL)  # noqa: PTH100, PTH118, PTH120 - no link is followed
    return beside if os.access(beside, os.X_OK) else shutil.which(TOOL)


def _job(model: ModelState, uri: str) -> str:
    return job_of(model, 1).model_copy(update={"storage_uri": uri}).model_dump_json()
