"""What the API server asks over HTTPS on loopback: an API beside its own, or an admission webhook; its answers are the test's."""

import json
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from recsys_dev import pki
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import LOOPBACK

Json = dict[str, Any]


@contextmanager
def answering(cluster: Cluster, answer: Callable[[str, Json], Json]) -> Generator[int]:
    """Answer each path and JSON body, under a certificate of the cluster's own authority; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked: Json = json.loads(self.rfile.read(length)) if length else {}
            body = json.dumps(answer(self.path.partition("?")[0], asked)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    assert cluster.papers is not None
    identity = pki.sign(cluster.papers.authority, "answering", hosts=["localhost", LOOPBACK])
    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
