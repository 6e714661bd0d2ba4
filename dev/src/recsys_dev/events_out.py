"""A simulated audience's events as lines `user<TAB>record`, for a console producer: `python -m recsys_dev.events_out --history`.

`--history` is what they watched in the last 60 days; without it, what they go on to watch: `--count` events, a few hundred a second.
"""

import argparse
import sys
import time

from recsys_dev.audience import SimulatedAudience
from recsys_dev.errors import told
from recsys_dev.events import Event

AT_ONCE, EVERY_S = 100, 0.25


def line(event: Event) -> str:
    """One event as a console producer reads it, its key first."""
    return f"{event.user_id}\t{event.record().decode()}\n"


def main() -> int:
    """Print events of one type until they end, or whoever reads goes away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", action="store_true", help="the last 60 days, at once")
    parser.add_argument("--count", type=int, default=20_000, help="how many live events")
    parser.add_argument("--type", default="watch", choices=["watch", "rate"])
    asked = parser.parse_args()
    audience = SimulatedAudience(now_ms=time.time_ns() // 1_000_000)
    try:
        # The past is lived through in either case: who goes on watching knows what they have seen.
        for event in audience.history():
            if asked.history and event.event_type == asked.type:
                sys.stdout.write(line(event))
        sent = 0
        while not asked.history and sent < asked.count:
            events = [each for each in audience.live(AT_ONCE, time.time_ns() // 1_000_000) if each.event_type == asked.type]
            sys.stdout.writelines(map(line, events))
            sys.stdout.flush()
            sent += len(events)
            time.sleep(EVERY_S)
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
