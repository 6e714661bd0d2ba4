"""The acts of the demo, in order: each does its step on real parts and notes the claims that it makes."""

import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from recsys_dev.errors import Unmet
from recsys_dev.eyes import Seen
from recsys_dev.line import NAMESPACE
from recsys_dev.report import comparison, margin_words
from recsys_dev.stage import EVENT_TOPICS, ITEMS, MODEL, PREFERENCES, REQUESTS, RESPONSES, Stage, short
from recsys_dev.story import ENDED, roll_back, walk
from recsys_dev.tallies import quantiles
from recsys_dev.topics_seen import manifests
from recsys_dev.traffic import Traffic, probe
from recsys_schemas.events import ResponseEvent
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase
from recsys_schemas.version_card import CARD_FILE, VersionCard, version_folder

LOGGED_S = 90.0
WANTED = (3, 3, 2)
"""Partitions, replication factor and min ISR of every topic of the example."""
BAD_RECORDS = (b"{not json", b'{"event_id":"x","user_id":"u1","item_id":"m1"}')
"""What a broken producer sends: not JSON, and an event without its time."""


def verify_topics(stage: Stage) -> None:
    """3: the operator has created and verified the topics; say what the brokers say."""
    stage.story.wait(lambda seen: seen.holds("TopicsReady"), what="TopicsReady", deadline_s=240, in_vain=stage.in_vain)
    names = (*EVENT_TOPICS, REQUESTS, RESPONSES, PREFERENCES, ITEMS)
    stage.report.topics = stage.topics.describe(names)
    verified = ask_plugin(stage, "topics", "verify", MODEL)
    stage.report.claims.check("`topics verify` finds the topics as asked", verified.returncode == 0, verified.stdout + verified.stderr)
    right = all((t.partitions, t.replicas, t.min_in_sync) == WANTED and t.in_sync == t.replicas for t in stage.report.topics)
    stage.report.claims.check("six topics with 3 partitions, RF 3, min ISR 2, all in sync", right, str(stage.report.topics))


def verify_decisions(stage: Stage) -> None:
    """9: every decision is on the audit topic, and follows again from its record."""
    verified = ask_plugin(stage, "audit", "verify", MODEL)
    stage.report.claims.check(
        "`audit verify` decides every verdict again from its record", verified.returncode == 0, verified.stdout[-300:]
    )


def ask_plugin(stage: Stage, *words: str) -> subprocess.CompletedProcess[str]:
    """Show a command of `kubectl recsys`, and what it says."""
    stage.tell(f"{stage.kubectl} recsys {' '.join(words)}")
    plugin = [sys.executable, "-m", "kubectl_recsys", "--namespace", NAMESPACE, *words]
    done = subprocess.run(plugin, capture_output=True, text=True, env=stage.line.cluster.environment, timeout=300, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        stage.tell(line[:200])
    return done


def replay_history(stage: Stage) -> None:
    """4: events flow, and ingest writes snapshots of them, each event once."""
    began = time.monotonic()
    sent = stage.producer.send(stage.past)
    for value in BAD_RECORDS:
        stage.producer.send_raw("watch", b"broken-producer", value)
    stage.producer.flush()
    took = time.monotonic() - began
    stage.tell(f"{sent:,} events in time order and {len(BAD_RECORDS)} broken records, all acknowledged after {took:.1f} s")

    def covered(seen: Seen) -> bool:
        found = seen.status.ingestion
        return found is not None and found.lag_records == 0 and found.rows + found.dead_letters >= sent + len(BAD_RECORDS)

    seen = stage.story.wait(covered, what="a snapshot of the whole history", deadline_s=360, in_vain=stage.in_vain)
    found = seen.status.ingestion
    assert found is not None
    stage.tell(f"snapshot {found.sequence}: {found.rows:,} rows, {found.dead_letters} records put aside, lag {found.lag_records}")
    exact = (found.rows, found.dead_letters) == (sent, len(BAD_RECORDS))
    words = f"{sent} events and {len(BAD_RECORDS)} bad records sent; {found.rows} rows, {found.dead_letters} dead letters"
    stage.report.claims.check("every event once in the snapshot, every bad record in the dead letters", exact, words)


def compare_models(stage: Stage) -> None:
    """5: one training run, three algorithms, one table."""
    seen = stage.story.wait(_measured, what="the first version", deadline_s=600, in_vain=stage.in_vain)
    version = seen.version(1)
    assert version is not None
    card = read_card(version.spec.storage_uri, version.name)
    stage.report.card = card
    stage.console.print(comparison(card))
    metric = next((gate.metric for gate in seen.spec.gates if gate.relative_to == "Baselines"), "ndcg@10")
    stage.tell(margin_words(card, metric))
    claims = stage.report.claims
    names = {evaluation.name for evaluation in card.evaluations}
    claims.check("Popularity, ItemItem and ALS were trained on one snapshot", names >= {"ALS", "ItemItem", "Popularity"}, str(names))
    margins = [evaluation.difference[metric] for evaluation in card.evaluations if evaluation.role == "baseline"]
    claims.check("ALS beats its baselines at 95 %", bool(margins) and all(margin.low > 0 for margin in margins), margin_words(card, metric))
    gates = "; ".join(f"{gate.name} {gate.verdict}: {gate.message}" for gate in version.status.gates)
    claims.check("it passes its gates", version.status.phase is not VersionPhase.REJECTED, gates)


def _measured(seen: Seen) -> bool:
    first = seen.version(1)
    return first is not None and first.status.phase not in (VersionPhase.PENDING, VersionPhase.TRAINING)


def read_card(storage_uri: str, version: str) -> VersionCard:
    """A version's card from a folder on this machine."""
    return VersionCard.model_validate_json((local_folder(storage_uri) / version_folder(version) / CARD_FILE).read_bytes())


def local_folder(storage_uri: str) -> Path:
    """The folder of a file:// URI."""
    return Path(urlsplit(storage_uri).path)


def begin_serving(stage: Stage) -> None:
    """6: the version serves; a request with a token is answered, and its answer is on Kafka."""

    def serving(seen: Seen) -> bool:
        status = seen.status
        return seen.holds("Ready") and seen.holds("Serving") and status.champion is not None and status.champion.weight == 100

    seen = stage.story.wait(serving, what="the first version serving", deadline_s=600, in_vain=stage.in_vain)
    assert seen.status.serving is not None
    token = stage.eyes.secret(f"{MODEL}-api", "token")
    if token is None:
        raise Unmet(f"Secret {MODEL}-api", "not there", "See the model's conditions.")
    stage.token, stage.url = token, seen.status.serving.url
    user = stage.audience.visitor()
    stage.tell("try it yourself:")
    stage.tell(curl_line(stage, user))
    answer = httpx.post(
        f"{stage.url}/v1/recommendations",
        json={"user_id": user, "k": 5},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )
    stage.tell(f"HTTP {answer.status_code} {answer.text[:400]}")
    told = answer.json() if answer.is_success else {}
    good = bool(told.get("model_version") and told.get("variant") and told.get("reason") and told.get("items"))
    stage.report.claims.check("an answer names model_version, variant and reason", good, answer.text[:300])
    refused = httpx.post(f"{stage.url}/v1/recommendations", json={"user_id": user}, timeout=60, trust_env=False).status_code
    stage.report.claims.check("no token, no recommendations", refused == 401, f"HTTP {refused}")
    logged = find_answer(stage, str(told.get("request_id")))
    words = f"{logged.model_version} for {logged.user_id}" if logged is not None else f"not there after {LOGGED_S:.0f} s"
    stage.report.claims.check("requests and responses land on the two reco topics", logged is not None, words)
    stage.tell(f"on {RESPONSES}: {words}; {stage.topics.count(REQUESTS)} on {REQUESTS}")
    stage.traffic = Traffic(stage.url, token, stage.audience, rate=stage.rate).start()
    stage.pace(canary=False)
    stage.start_marking()


def curl_line(stage: Stage, user: str) -> str:
    """A command that asks for recommendations, for another terminal."""
    token = f"$({stage.kubectl} get secret {MODEL}-api -o jsonpath='{{.data.token}}' | base64 -d)"
    body = f'{{"user_id": "{user}", "k": 5}}'
    return f"curl {stage.url}/v1/recommendations -H \"Authorization: Bearer {token}\" -d '{body}'"


def find_answer(stage: Stage, request_id: str) -> ResponseEvent | None:
    """The answer with this id as it was logged; None when it is not the newest one in time."""
    end = time.monotonic() + LOGGED_S
    while time.monotonic() < end:
        answer = stage.topics.last_answer(RESPONSES)
        if answer is not None and answer.request_id == request_id and stage.topics.count(REQUESTS):
            return answer
        time.sleep(0.2)
    return None


def promote_second(stage: Stage, new_events: int) -> None:
    """7: new events make a second version due; it earns its shares under live traffic."""
    stage.tell(f"{stage.rate:.0f} visits/s in a canary, fewer before and after; and new events until a version is due")
    seen = stage.more_events_until(2, new_events, what="a second version", deadline_s=300)
    version = seen.versions[-1].name
    _rolled_out(stage, version)
    # The model's own status follows its rollout by one pass.
    seen = stage.story.wait(
        lambda seen: seen.status.champion is not None and seen.status.champion.version == version,
        what=f"{version} as champion", deadline_s=240, in_vain=stage.in_vain,
    )  # fmt: skip
    rollout = seen.rollout(version)
    assert rollout is not None
    for decision in rollout.status.decisions:
        stage.tell(f"{decision.verdict:<9} {decision.words}")
    stage.report.walk = walk(seen, version)
    if rollout.status.ended_at is not None and rollout.status.started_at is not None:
        stage.report.walk_seconds = (rollout.status.ended_at - rollout.status.started_at).total_seconds()
    claims = stage.report.claims
    claims.check(
        "the second version went 5 → 25 → 50 → 100 % and was promoted", stage.report.walk == [5, 25, 50, 100], str(stage.report.walk)
    )
    assert stage.traffic is not None
    failed = stage.traffic.tally.failed
    claims.check("no request failed while it was promoted", failed == 0, f"{failed} failed: {list(stage.traffic.tally.faults)}")


def _rolled_out(stage: Stage, version: str) -> Seen:
    """Wait until a version's rollout begins and ends, with many users in between."""

    def begun(seen: Seen) -> bool:
        return seen.rollout(version) is not None

    try:
        stage.story.wait(begun, what=f"the rollout of {version}", deadline_s=420, in_vain=stage.in_vain)
        stage.pace(canary=True)
        return stage.story.wait(lambda seen: _ended(seen, version), what=f"its end for {version}", deadline_s=420, in_vain=stage.in_vain)
    finally:
        stage.pace(canary=False)


def _ended(seen: Seen, version: str) -> bool:
    rollout = seen.rollout(version)
    return rollout is not None and rollout.status.phase in ENDED


def catch_third(stage: Stage, new_events: int) -> None:
    """8: a version that is good on paper and bad for users is caught in its canary."""
    assert stage.traffic is not None
    tally = stage.traffic.tally
    stage.line.fault.turn_on()
    try:
        seen = stage.more_events_until(3, new_events, what="a third version", deadline_s=300)
        version = seen.versions[-1].name
        seen = _rolled_out(stage, version)
    finally:
        stage.line.fault.turn_off()
    _some_traffic_later(stage, tally.ok)
    # The model's own status follows its rollout by one pass.
    seen = stage.story.wait(lambda seen: seen.status.challenger is None, what="no challenger", deadline_s=240, in_vain=stage.in_vain)
    rollout = seen.rollout(version)
    assert rollout is not None
    for decision in rollout.status.decisions:
        stage.tell(f"{decision.verdict:<10} {decision.words}")
    report, claims = stage.report, stage.report.claims
    report.caught = roll_back(seen, version)
    report.users_who_saw_it = tally.users_of(version)
    report.users_in_all = len(set[str]().union(*(counted.users for counted in list(tally.versions.values()))))
    caught = rollout.status.phase is RolloutPhase.ROLLED_BACK and report.caught is not None
    claims.check("the bad version was caught in its canary and rolled back", caught, f"{rollout.status.phase}: {rollout.status.message}")
    champion = seen.status.champion.version if seen.status.champion else "none"
    good_version = seen.versions[1].name
    claims.check("the good version serves on", champion == good_version, f"{champion} serves")


def _some_traffic_later(stage: Stage, answers: int) -> None:
    """Let users come for a moment after the roll-back, so that its first seconds are counted too."""
    assert stage.traffic is not None
    end = time.monotonic() + 5
    while time.monotonic() < end and stage.traffic.tally.ok < answers + 2 * stage.rate:
        time.sleep(0.1)


def sum_up(stage: Stage) -> None:
    """9: stop the users, probe the API alone, and fill the report."""
    assert stage.traffic is not None
    tally = stage.traffic.stop()
    stage.stop_marking()
    report, claims = stage.report, stage.report.claims
    report.probe = probe(stage.url, stage.token, stage.audience)
    claims.check(
        "every request of the probe succeeded",
        report.probe.succeeded == report.probe.asked,
        f"{report.probe.succeeded} of {report.probe.asked}",
    )
    report.requests, report.good_answers, report.failed_requests = tally.sent, tally.good, tally.failed
    report.refused_for_load = tally.shed
    report.latencies = quantiles(tally.latencies_ms)
    claims.check("no request failed", tally.failed == 0 and tally.sent > 0, tally.failures)
    fallbacks = tally.ok - tally.good
    claims.check("users kept getting good answers", fallbacks <= tally.ok // 100, f"{fallbacks} of {tally.ok} from the fallback")
    words = f"{tally.events_failed} not, {tally.unacknowledged} parcels sent again: {list(tally.faults)[:3]}"
    claims.check("every reaction was acknowledged", tally.events_failed == 0, words)
    report.rewards = {
        version: f"{counted.watched}/{counted.answers} = {100 * counted.watched / max(1, counted.answers):.0f} % watched"
        for version, counted in sorted(tally.versions.items())
    }
    found = manifests(local_folder(stage.storage_of_model()))
    lags = stage.marks.lags(found)
    report.lags_s = quantiles(lags)
    report.events = found[-1].rows if found else 0
    claims.check("events reach a snapshot", bool(lags), f"{len(lags)} marks covered")
    report.urls = {
        "Ray": f"{stage.line.head.dashboard_url} (token: {_token_hint(stage)})",
        "API docs": f"{stage.url}/docs",
        "Metrics": f"http://127.0.0.1:{stage.line.operator_port}/metrics (operator), {stage.url}/metrics (API)",
    }


def _token_hint(stage: Stage) -> str:
    return f"cat {short(stage.line.head.run_dir)}/ray-token" if stage.line.head.run_dir else "yours"
