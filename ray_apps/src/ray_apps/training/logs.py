"""Structured logs of a run, in the driver and in its workers alike."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def log_json() -> None:
    """Write what our own modules log as JSON to standard error, and nothing twice."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"message": "event"}))
    ours = logging.getLogger("ray_apps")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(logging.INFO)
