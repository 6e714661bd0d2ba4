"""What a replica tells the board each second, and what it reads back; on a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable

from ray.actor import ActorHandle

import ray
from ray_apps.serving.board import Board, board_of
from recsys_schemas.serving_evidence import EvidenceResponse, ReplicaReport

PERIOD_SECONDS = 1.0
DEADLINE_SECONDS = 2.0
"""For each call to the board."""

logger = logging.getLogger(__name__)


class Reporter:
    """Pushes this replica's report to the board, and asks the board for everyone's."""

    def __init__(self, model_uid: str, report: Callable[[], ReplicaReport]) -> None:
        self._uid = model_uid
        self._report = report
        self._board: ActorHandle[Board] | None = None
        self._lost = False
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    async def evidence(self) -> EvidenceResponse:
        """Every replica's last report, this one's freshly made.

        Raises:
            Exception: Ray's own, when the board does not answer within the deadline.
        """
        return await asyncio.wait_for(asyncio.to_thread(self._evidence), timeout=3 * DEADLINE_SECONDS)

    def nudge(self) -> None:
        """Report now rather than at the next second; does not wait."""
        self._wake.set()

    def close(self) -> None:
        """Report a last time and stop."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=2 * DEADLINE_SECONDS)

    def _evidence(self) -> EvidenceResponse:
        answers = ray.get(self._push().reports.remote(), timeout=DEADLINE_SECONDS)
        return EvidenceResponse(
            replicas=[ReplicaReport.model_validate_json(report).model_copy(update={"age_seconds": age}) for age, report in answers]
        )

    def _run(self) -> None:
        while True:
            self._wake.wait(PERIOD_SECONDS)
            self._wake.clear()
            stopping = self._stopping
            try:
                self._push()
            except Exception as error:  # noqa: BLE001 - whatever Ray raises, the next second tries again
                if not self._lost:
                    logger.warning("board lost", extra={"event": "BoardLost", "reason": f"{type(error).__name__}: {error}"})
                self._lost = True
            if stopping:
                return

    def _push(self) -> ActorHandle[Board]:
        report = self._report()
        board = self._board or board_of(self._uid)
        try:
            ray.get(board.report.remote(report.replica_id, report.model_dump_json()), timeout=DEADLINE_SECONDS)
        except Exception:
            self._board = None
            raise
        self._board = board
        self._lost = False
        return board
