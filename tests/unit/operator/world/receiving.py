"""A receiver of webhooks that fails, hangs and comes back, as its test says."""

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DEADLINE_S = 60.0


@dataclass
class Receiver:
    """What came, and how the next requests are answered."""

    url: str = ""
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])
    """What was answered with a 2xx."""
    refused: int = 0
    """What was not."""
    answers: list[int] = field(default_factory=list[int])
    """Statuses of the next requests; 0 hangs, then 204 for ever."""
    answers_of: dict[str, int] = field(default_factory=dict[str, int])
    """Statuses of requests by the last part of their path: of those that must not take each other's, however late they are."""
    before: Callable[[], None] = lambda: None
    """What happens once a message has been taken, before it is answered."""
    released: threading.Event = field(default_factory=threading.Event)

    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for _, body in self.came]


def signed(headers: Mapping[str, str], body: bytes, key: bytes) -> bool:
    """Whether a message is from who has the key, as its receiver is told to check it."""
    wanted = hmac.new(key, f"{headers['X-Recsys-Timestamp']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers["X-Recsys-Signature"], f"sha256={wanted}")


@contextmanager
def receiving() -> Generator[Receiver]:
    """A receiver on loopback."""
    seen = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            named = seen.answers_of.get(self.path.rpartition("/")[2])
            status = named if named is not None else seen.answers.pop(0) if seen.answers else 204
            if status == 0:
                seen.released.wait(DEADLINE_S)
                return
            if status < 300:
                seen.came.append((dict(self.headers), body))
            else:
                seen.refused += 1
            seen.before()
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            """Not worth a line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen.url = f"http://127.0.0.1:{server.server_port}/secret-path"
    try:
        yield seen
    finally:
        seen.released.set()
        server.shutdown()
        server.server_close()
