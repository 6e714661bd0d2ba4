"""What the client of the Kubernetes API makes of answers that no API server would give: something stands in between."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kube import Kube


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"[1, 2]" if self.path == "/list" else b"\xff<html>sign in</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
        """Not worth a line."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/page", "/list"])
def test_an_answer_that_is_no_object_is_tried_again_and_told_in_words(url: str, path: str) -> None:
    async def read() -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await Kube(http=http).get(path)

    with pytest.raises(UnavailableError, match=r"which is no object; see what stands between"):
        asyncio.run(read())
