"""What stands where the API server should be: an HTTP server that gives the same answer to every GET of a path."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes.client import Configuration

from recsys_operator.world import kube as client
from recsys_operator.world.kube import Kube, open_kube

Answer = tuple[int, bytes]
OTHERWISE: Answer = (404, b"{}")


@contextmanager
def answering(answers: Mapping[str, Answer]) -> Generator[str]:
    """Its address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, OTHERWISE)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            """Not worth a line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def speak(host: str, work: Callable[[Kube], Awaitable[object]]) -> None:
    """Let a client of that address do something."""

    async def run() -> None:
        configuration = Configuration()
        configuration.host = host
        kube = open_kube(configuration)
        try:
            await work(kube)
        finally:
            await kube.close()

    with pytest.MonkeyPatch.context() as patient:
        for deadline in ("CALL_S", "_CONNECT_S"):
            patient.setattr(client, deadline, 60.0)  # however busy the machine is
        asyncio.run(run())
