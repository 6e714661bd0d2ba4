"""Users of a model's API who come by themselves, ask, and watch some of what they are shown: `TOKEN=... python -m recsys_dev.visits URL`.

What they watch goes back as events that name the answer: what a canary is judged by. Who is refused for load asks again
when the refusal says.
"""

import argparse
import os
import sys
import time

import httpx

from recsys_dev import processes
from recsys_dev.audience import SimulatedAudience
from recsys_dev.errors import Unmet, told
from recsys_dev.traffic import Traffic

TELL_EVERY_S = 10.0
READY_DEADLINE_S = 60.0
MOST_FAULTS = 3


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def main() -> int:
    """Visit until the time is up; tell now and then who answered how often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the model's API, such as http://127.0.0.1:8000/movies")
    parser.add_argument("--rate", type=float, default=60.0, help="visits a second")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    asked = parser.parse_args()
    token = os.environ.get("TOKEN")
    if not token:
        raise Unmet(
            "TOKEN", "not set", "It is the key `token` of the Secret MODEL-api: kubectl get secret movies-api -o jsonpath='{.data.token}'."
        )
    audience = SimulatedAudience(now_ms=time.time_ns() // 1_000_000)
    # The past is lived through: who asks knows what they have seen.
    lived = sum(1 for _ in audience.history())
    sys.stdout.write(f"{audience.name}, with {lived} events behind them\n")
    processes.wait_until(lambda: _answers(asked.url), what=f"{asked.url}/healthz", deadline_s=READY_DEADLINE_S)
    traffic = Traffic(asked.url, token, audience, rate=asked.rate).start()
    end = time.monotonic() + 60 * asked.minutes
    try:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(TELL_EVERY_S, left))
            shares = ", ".join(f"{name} {version.answers}" for name, version in sorted(traffic.tally.versions.items()))
            faults = ", ".join(sorted(set(list(traffic.tally.faults)[-MOST_FAULTS:])))
            shed = f"{traffic.tally.shed} refused for load and asked again when told"
            shed += f", {traffic.tally.unacknowledged} parcels of events sent again"
            failed = f"{traffic.tally.failed} failed{': ' if faults else ''}{faults}"
            sys.stdout.write(f"{traffic.tally.ok} answers ({shares}), {shed}, {failed}\n")
            sys.stdout.flush()
    finally:
        traffic.stop()
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
