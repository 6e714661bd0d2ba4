"""Loopback ports: pick free ones, and refuse a taken one with a name for who holds it."""

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

from recsys_dev.errors import Unmet
from recsys_dev.process_table import port_holder

LOOPBACK = "127.0.0.1"
LOWEST, HIGHEST = 20000, 32000
"""Below every usual ephemeral range, so that no outgoing connection takes a port between its picking and its use."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a closed connection's TIME_WAIT does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Return `count` different ports of this machine, on loopback unless told otherwise, that nothing listens on.

    Runs side by side are given different ones: a port is given again only when all others have been.

    Raises:
        Unmet: when the whole range is taken.
    """
    span = HIGHEST - LOWEST
    found: list[int] = []
    with _turn_file().open("r+b", buffering=0) as place:
        fcntl.flock(place, fcntl.LOCK_EX)
        first = _place(place.read())
        for step in range(span):
            port = LOWEST + (first + step) % span
            if is_free(port, host):
                found.append(port)
            if len(found) == count:
                place.seek(0)
                place.truncate()
                place.write(str(port + 1 - LOWEST).encode())
                return found
    raise Unmet(f"{count} free ports", f"only {len(found)} between {LOWEST} and {HIGHEST}", "Stop other servers: `make down`.")


def _turn_file() -> Path:
    """Where this user's runs note which port is the next one's."""
    path = Path(tempfile.gettempdir()) / f"recsys-ports-{os.getuid()}"
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    return path


def _place(noted: bytes) -> int:
    """Where to begin; anywhere, when nothing is noted."""
    return int(noted) % (HIGHEST - LOWEST) if noted.isdigit() else secrets.randbelow(HIGHEST - LOWEST)


def require_free(port: int, purpose: str, host: str = LOOPBACK) -> None:
    """Refuse a port that something already listens on.

    Raises:
        Unmet: names the port, who holds it where that can be known, and the mend.
    """
    if is_free(port, host):
        return
    holder = port_holder(port) or "another program (its name is not visible to this user)"
    raise Unmet(
        f"port {port} for {purpose}",
        f"already in use on {host} by {holder}",
        "Stop that program, choose another port, or give none and a free one is picked.",
    )
