"""The picture of a version's page in the documentation: two versions of the simulated audience's events, the page of the second, a browser.

`make model-card` writes docs/images/model-card.png. It needs Chromium on the PATH (`apt-get install chromium`); where there is none, the
page is made all the same and its place is told.
"""

import sys
import tempfile
from pathlib import Path

import pyarrow as pa

from ray_apps.stores.objects import open_store
from ray_apps.training.job import run
from recsys_dev.audience import SimulatedAudience
from recsys_dev.browser import BROWSERS, browser, picture
from recsys_dev.events import Event
from recsys_schemas.version_card import REPORT_FILE, version_folder
from unit.ray_apps.training import planted

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "model-card.png"
PAGE = ROOT / "build" / "model-card.html"
SIZE = "1360,1180"
NOW_MS = 1_700_000_000_000
EARLIER = 0.7
"""The champion was made of so much of the events."""


def watches(events: list[Event]) -> pa.Table:
    """Watch events as ingest keeps them."""
    rows = [event.fields() for event in events if event.event_type == "watch"]
    return pa.Table.from_pylist([{name: row[name] for name in ("event_id", "user_id", "item_id", "timestamp", "fraction")} for row in rows])


def made(folder: Path) -> str:
    """The page of a version that has a champion, on the audience of the demo."""
    events = list(SimulatedAudience(now_ms=NOW_MS).history())
    uri = planted.snapshot(folder, {"watch": watches(events[: int(EARLIER * len(events))])}, 1)
    run(planted.job(uri, "movies-000001"))
    planted.snapshot(folder, {"watch": watches(events)}, 2)
    asked = planted.job(uri, "movies-000002", champion="movies-000001", snapshot_sequence=2)
    run(asked.model_copy(update={"baselines": ["Popularity", "ItemItem", "IALS"]}))
    return open_store(uri).read(f"{version_folder('movies-000002')}/{REPORT_FILE}").decode()


def main() -> int:
    """Make the page, and the picture of its first screen."""
    with tempfile.TemporaryDirectory(prefix="model-card-") as folder:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(made(Path(folder)), encoding="utf-8")
        program = browser()
        if program is None:
            sys.stdout.write(f"{PAGE}; no picture: none of {', '.join(BROWSERS)} is on the PATH\n")
            return 1
        picture(program, PAGE.as_uri(), PICTURE, size=SIZE)
    sys.stdout.write(f"{PICTURE}, of {PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
