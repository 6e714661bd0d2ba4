"""How many objects one operator looks after, and what it costs: ours, a plain kopf operator and KubeRay's, on as many each; and a failover.

    python -m bench.operators [--models 100,1000] [--rest 60] [--changes 100] [--peers plain_kopf,kuberay]

A real API server and a real broker; Ray's dashboard is a stand-in, for no Ray here could run so many jobs. Half of our models are
suspended, the others wait for events that never come; a plain kopf operator has the same specs (a dozen lines: handlers, a timer and a
patch); KubeRay has suspended RayClusters. Every wait has a bound, and a part that is late is told as such while the others go on.
"""

import argparse
import sys
import time
from typing import Any

from bench.operators.failover import fail_over
from bench.operators.floor import floor
from bench.operators.objects import ground
from bench.operators.scene import Scene, scene
from bench.operators.subjects import SUBJECTS, Figures, base, measure, react
from bench.operators.watch import LateError
from recsys_dev.claims import Claims
from recsys_dev.figures import tell

FAILOVER_MODELS = 60
REPORT = "bench-operator"


def say(words: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def one_size(at: Scene, numbers: range, asked: argparse.Namespace, bases: dict[str, float]) -> Figures:
    """All operators, one after another, on as many objects as there are when those of these numbers have been made."""
    found, count = Figures(), numbers.stop
    for name, empty in bases.items():
        began = time.monotonic()
        at.create([SUBJECTS[name].body(at, number) for number in numbers])
        say(f"{name}: {len(numbers)} objects made in {time.monotonic() - began:.0f} s")
        try:
            found[f"{count} {name}"] = measure(at, name, count, rest_s=asked.rest, base_mib=empty)
        except (LateError, OSError) as late:  # it has ended, or the objects are not even seen
            found[f"{count} {name}"] = {"all_observed_s": str(late).splitlines()[0]}
        if name == "recsys" and asked.changes:
            began = time.monotonic()
            try:
                found[f"{count} {name}"] |= react(at, count, asked.changes)
            except (LateError, RuntimeError) as late:
                found[f"{count} {name}"]["change_p99_s"] = str(late).splitlines()[0]
            say(f"{name}: {asked.changes} changes in {time.monotonic() - began:.0f} s")
        show(f"{count} objects", found)
    return found


def show_failover(at: Scene, models: int) -> None:
    """The leader's end in the middle of its work; what was not so in time stands there in words."""
    claims = Claims()
    try:
        tell(REPORT, "failover", fail_over(at, models, claims))
    except RuntimeError as late:
        tell(REPORT, "failover", {"not in time": str(late).splitlines()[0]})
    tell(REPORT, "failover: claims", claims.told())


def over_floor(count: int, ours: Figures, least_ms: float) -> None:
    """CPU of the operator, the API server and etcd until all were observed, beside that of a client that does no more than it must."""
    spent: list[float] = [ours[name] for name in (f"{whose}cpu_s_until_then" for whose in ("", "kube-apiserver_", "etcd_")) if name in ours]
    if spent:
        each = 1000 * sum(spent) / count
        figures = {"ours": each, "the least": least_ms, "ours over the least": each / least_ms}
        tell(REPORT, f"{count} models until all are observed: CPU ms a model", figures)


def show(part: str, found: Figures) -> None:
    """The table, a column for each operator."""
    names = list(dict.fromkeys(figure for figures in found.values() for figure in figures))
    tell(REPORT, part, {name: {whose: figures[name] for whose, figures in found.items() if name in figures} for name in names})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="100,1000", help="numbers of objects, ascending")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of rest")
    parser.add_argument("--changes", type=int, default=100, help="changes of a spec")
    parser.add_argument("--peers", default="plain_kopf,kuberay", help="operators beside ours; may be empty")
    asked = parser.parse_args()
    counts = sorted({int(each) for each in asked.models.split(",")})
    names = ["recsys", *filter(None, asked.peers.split(","))]
    found: dict[str, Any] = {}
    with scene() as at:
        for layer in ground():
            at.create(layer)
        for name in names:
            SUBJECTS[name].prepare(at)
        bases = {name: base(at, name) for name in names}
        tell(REPORT, "nothing to look after: MiB", bases)
        least = floor(at)
        tell(REPORT, "the least for one model (read, finalizer, status): CPU ms", least)
        made = 0
        for count in counts:
            found |= one_size(at, range(made, count), asked, bases)
            over_floor(count, found[f"{count} recsys"], sum(least.values()))
            if made == 0:
                show_failover(at, min(FAILOVER_MODELS, count // 2))
            made = count
    seen = {name: found[f"{counts[-1]} {name}"].get("kib_an_object") for name in names}
    each = {name: kib for name, kib in seen.items() if kib is not None}
    ratios = {f"{name} over recsys": kib / max(each["recsys"], 0.1) for name, kib in each.items() if name != "recsys" and "recsys" in each}
    tell(REPORT, f"memory of an object above the base, of {counts[-1]}: KiB", each | ratios)


if __name__ == "__main__":
    main()
