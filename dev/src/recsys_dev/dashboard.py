"""Ray's dashboard in pictures, as one who has its token sees it."""

import contextlib
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from recsys_dev.browser import picture
from recsys_dev.ports import LOOPBACK

PAGES = {"jobs": "#/jobs", "serve": "#/serve"}
_SIZE = "1500,900"
_SETTLE_MS = 15_000
"""It fills its pages from its own API, one answer after another."""
_DROPPED = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"})


@contextlib.contextmanager
def opened(dashboard: str, token: str) -> Generator[str]:
    """A place on loopback that answers reads with the dashboard's answers: a browser without a screen cannot be given a token."""
    client = httpx.Client(base_url=dashboard, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            try:
                answer = client.get(self.path)
            except httpx.HTTPError as error:
                self.send_error(502, str(error)[:200])
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _DROPPED:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            """A page asks for a hundred things: not worth a line each."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="dashboard", daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        client.close()


def what_runs(dashboard: str, token: str) -> tuple[list[str], dict[str, str]]:
    """Ids of the jobs, and each application's status; nothing of what is not answered."""
    jobs: list[str] = []
    states: dict[str, str] = {}
    client = httpx.Client(base_url=dashboard, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)
    with client, contextlib.suppress(httpx.HTTPError):
        jobs = [each["submission_id"] for each in client.get("/api/jobs/").raise_for_status().json() if each["submission_id"]]
        found = client.get("/api/serve/applications/").raise_for_status().json()["applications"]
        states = {name: app["status"] for name, app in found.items()}
    return jobs, states


def pictures(program: str, dashboard: str, token: str, folder: Path, name: str) -> dict[str, Path]:
    """Take a picture of each page that shows what runs; the files by the pages' names. Errors as `browser.picture`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {page: folder / f"{name}-{page}.png" for page in PAGES}
    with opened(dashboard, token) as place:
        for page, file in files.items():
            picture(program, f"{place}{PAGES[page]}", file, size=_SIZE, settle_ms=_SETTLE_MS)
    return files
