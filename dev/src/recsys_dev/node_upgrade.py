"""An upgrade of the operator on a real node: its pods are replaced, and then the Ray clusters whose pods are to be told something else."""

import time

from recsys_dev import node_line, processes
from recsys_dev.eyes import Seen
from recsys_dev.node_line import SHOP
from recsys_dev.node_play import Play
from recsys_dev.stage import MODEL

REPLACED_DEADLINE_S, STILL_S = 300.0, 45.0
"""For another cluster to take over; and how long then nothing more may happen: longer than a cluster takes to be asked for again."""


def upgrade(play: Play) -> None:
    """`helm upgrade` replaces the operator's pods while users ask, and KubeRay the cluster that it keeps, once."""
    assert play.traffic is not None
    assert play.story.seen is not None
    champion = play.story.seen.status.champion
    tally = play.traffic.tally
    failed, answered = tally.failed, tally.ok
    node_line.install(play.line, "operator.logLevel=DEBUG")
    again = play.story.wait(lambda seen: seen.holds("Ready"), what="Ready after the upgrade", deadline_s=60)
    _some_answers(play, answered)
    same = again.status.champion is not None and champion is not None and again.status.champion.version == champion.version
    words = f"{tally.ok - answered} answers meanwhile, {tally.failed - failed} failed; champion {champion.version if champion else '-'}"
    play.claims.check("helm upgrade under traffic: no request failed, the same champion", same and tally.failed == failed, words)
    failed, answered = tally.failed, tally.ok
    clusters = _replaced(play)
    words = f"{' → '.join(clusters)}; {tally.ok - answered} answers meanwhile, {tally.failed - failed} failed"
    once = len(clusters) == 2 and tally.failed == failed
    play.claims.check("KubeRay replaced the kept cluster once, by what the new operator says, and no request failed", once, words)
    _ingested_there(play)


def _replaced(play: Play) -> list[str]:
    """Wait until another cluster has taken over and is alone, then a while more; return the names of all that were seen, in order."""
    place = f"/apis/ray.io/v1/namespaces/{SHOP}"
    names: list[str] = []

    def alone() -> bool:
        there = [each["metadata"]["name"] for each in (play.eyes.get(f"{place}/rayclusters") or {"items": []})["items"]]
        names.extend(name for name in there if name not in names)
        status = (play.eyes.get(f"{place}/rayservices/{MODEL}") or {}).get("status") or {}
        used = (status.get("activeServiceStatus") or {}).get("rayClusterName")
        return len(names) > 1 and there == [used] and used != names[0]

    processes.wait_until(alone, what="another Ray cluster alone", deadline_s=REPLACED_DEADLINE_S)
    end = time.monotonic() + STILL_S
    while time.monotonic() < end:
        alone()
        time.sleep(0.5)
    return names


def _ingested_there(play: Play) -> None:
    """What comes after the replacement is in the snapshot too."""
    assert play.story.seen is not None
    before = _rows(play.story.seen)
    sent = play.producer.send(play.audience.live(400, time.time_ns() // 1_000_000))
    play.producer.flush()
    # Users go on asking, so that something always waits.
    seen = play.story.wait(lambda seen: _rows(seen) >= before + sent, what="ingest on the cluster that took over", deadline_s=180)
    play.claims.check("ingest goes on there", True, f"{before} rows, then {_rows(seen)}")


def _rows(seen: Seen) -> int:
    return seen.status.ingestion.rows if seen.status.ingestion else 0


def _some_answers(play: Play, before: int) -> None:
    assert play.traffic is not None
    end = time.monotonic() + 20
    while time.monotonic() < end and play.traffic.tally.ok < before + 2 * play.traffic.rate:
        time.sleep(0.1)
