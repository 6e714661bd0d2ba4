"""Logs of the serving processes: one JSON event a line, on standard error."""

import logging

from pythonjsonlogger.json import JsonFormatter


def log_as_json() -> None:
    """Write our own loggers' events as JSON; those of Ray and of libraries stay as they are. Twice is as once."""
    ours = logging.getLogger("ray_apps")
    if ours.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
