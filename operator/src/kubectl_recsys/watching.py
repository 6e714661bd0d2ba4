"""`kubectl recsys watch`: a model's rollout drawn live, until it has ended or the reader has seen enough."""

import asyncio
import shutil
import sys
from datetime import UTC, datetime

from kubectl_recsys.picture import draw, line_of
from kubectl_recsys.views import find
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import MODELS, ROLLOUTS, UID_LABEL, folder, oldest_first
from recsys_schemas.v1alpha1.rollout import RolloutPhase

EVERY_S = 1.0
_HOME_AND_CLEAR, _HIDE, _SHOW = "\x1b[H\x1b[J", "\x1b[?25l", "\x1b[?25h"
_OVER = frozenset(str(phase) for phase in RolloutPhase if phase.ended)


async def watch(kube: Kube, namespace: str, name: str, *, until_ended: bool) -> int:
    """Draw the newest rollout of a model each second; where the output is no terminal, a line whenever something has changed.

    Args:
        kube: the API server.
        namespace: of the model.
        name: of the model.
        until_ended: return when the newest rollout has ended: 0 when it was promoted, else 1. Without it only an interrupt ends it.

    Raises:
        RefusedError: there is no such model.
    """
    live, last = sys.stdout.isatty(), ""
    try:
        while True:
            model, rollout = await _look(kube, namespace, name)
            told = _screen(model, rollout) if live else line_of(rollout) if rollout else f"{namespace}/{name}: no rollout yet"
            if live or told != last:
                sys.stdout.write(f"{_HIDE}{_HOME_AND_CLEAR}{told}" if live else f"{told}\n")
                sys.stdout.flush()
            last = told
            phase = (rollout or {}).get("status", {}).get("phase", "")
            if until_ended and phase in _OVER:
                return 0 if phase == str(RolloutPhase.SUCCESSFUL) else 1
            await asyncio.sleep(EVERY_S)
    finally:
        if live:
            sys.stdout.write(f"{_SHOW}\n")


def _screen(model: Json, rollout: Json | None) -> str:
    size = shutil.get_terminal_size()
    lines = draw(model, rollout, datetime.now(UTC), colours=True, width=size.columns)
    return "\n".join(lines[: size.lines - 1])


async def _look(kube: Kube, namespace: str, name: str) -> tuple[Json, Json | None]:
    model = await find(kube, MODELS, namespace, name)
    uid = model["metadata"]["uid"]
    bodies = oldest_first(await kube.items(folder(ROLLOUTS, namespace), labels={UID_LABEL: uid}), uid)
    return model, bodies[-1] if bodies else None
