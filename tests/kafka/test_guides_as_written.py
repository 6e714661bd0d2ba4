"""The commands of the guides of the API, run as they are written against a running server: a guide that is wrong is caught here.

Only `kubectl`, which would look the token up, is stood in for.
"""

import base64
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.following import Source
from ray_apps.serving.told.following import ITEMS, PREFERENCES, ToldFollower
from recsys_dev.kafka import Brokers
from recsys_dev.ports import LOOPBACK, free_ports
from unit.ray_apps.serving.conftest import TOKENS, Caller, make_replica, record, until

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
TOPICS = ("watch", "rate", "preferences", "items", "reco_requests", "reco_responses")
PRELUDE = re.compile(r"^    (TOKEN=.*|api\(\) .*)$", re.MULTILINE)
COMMAND = re.compile(r"^    ((?:api|curl) .*)$", re.MULTILINE)


def commands(guide: str) -> list[str]:
    """What a guide tells to run against the API of a model, in its order."""
    return [line for line in COMMAND.findall((GUIDES / guide).read_text()) if "$URL" in line]


ASKED = [(guide, line) for guide in ("api.md", "cold-start.md", "access.md", "versions.md") for line in commands(guide)]


@pytest.fixture(scope="module")
def url(brokers: Brokers, admin: AdminClient) -> Iterator[str]:
    """A replica that serves a version with a catalogue and keeps the one that the guide switches to, behind a real server."""
    for topic, made in admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=3) for topic in TOPICS]).items():
        try:
            made.result(120)
        except KafkaException as error:
            assert "already exists" in str(error), f"{topic}: {error}"  # noqa: PT017 - others may have made it
    replica = make_replica(acknowledge_seconds=120, servers=brokers.bootstrap_servers)
    source = Source(name="shop.movies", bootstrap_servers=[brokers.bootstrap_servers], topics={"preferences": PREFERENCES, "items": ITEMS})
    replica = replace(replica, told=ToldFollower(source, replica.arms.beside.told, replica.arms.renew))
    served: dict[str, Any] = record(1, ("described", 100))
    kept = {"version": "movies-000041", "digest": "sha256:movies-000041", "variant": "holdback", "share": 0}
    served["arms"] = [*served["arms"], kept]
    assert replica.arms.apply(served)
    until(lambda: len(replica.arms.ready()) == 2)
    port = free_ports(1)[0]
    server = uvicorn.Server(uvicorn.Config(Caller(replica).api, host=LOOPBACK, port=port, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield f"http://{LOOPBACK}:{port}"
    server.should_exit = True
    thread.join(20)
    replica.close()


def run(url: str, line: str) -> dict[str, Any]:
    """Run one command in a shell, after what the guide says to run first."""
    told = base64.b64encode(TOKENS["writer"].encode()).decode()
    script = [f"kubectl() {{ printf %s {told}; }}", f"URL={url}", f"ADMIN={TOKENS['admin']}"]
    script += ["".join(found) for found in PRELUDE.findall((GUIDES / "api.md").read_text())]
    done = subprocess.run(["/bin/bash", "-euc", "\n".join([*script, line])], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_guides_have_commands():
    assert len(ASKED) >= 14
    assert {path for _, line in ASKED for path in re.findall(r"\$URL(/v1/[a-z:-]+)", line)} >= {
        "/v1/recommendations", "/v1/sessions", "/v1/similar-items", "/v1/popular", "/v1/batch", "/v1/events", "/v1/users", "/v1/items",
        "/v1/model:switch",
    }  # fmt: skip


@pytest.mark.parametrize(("guide", "line"), ASKED, ids=[f"{guide}-{number}" for number, (guide, _) in enumerate(ASKED)])
def test_a_command_of_a_guide_does_what_it_says(url: str, guide: str, line: str):
    answered = run(url, line)
    assert answered.get("status", 200) == 200, f"{guide}: {line}\n{answered}"


def test_a_guide_that_is_wrong_is_caught(url: str):
    with pytest.raises(AssertionError):
        test_a_command_of_a_guide_does_what_it_says(url, "a wrong one", """api $URL/v1/recommendations -d '{"user": "ann"}'""")
