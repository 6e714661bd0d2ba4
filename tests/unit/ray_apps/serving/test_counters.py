"""What a replica counts of each arm for the evidence: bounded, by groups of users, latencies for the newest shares only."""

from ray_apps.serving.counters import MAX_STRATA, MAX_TIMED_STRATA, Tallies
from recsys_schemas.serving_evidence import FOLDS, ArmCounters, latency_bin


def test_a_request_is_counted_once_by_how_it_ended_and_what_was_given():
    tally = Tallies().of("movies-000001")
    tally.asked("s", 3, 1.0, "well")
    tally.asked("s", 3, 2.0, "well", "popular")
    tally.asked("s", 5, 3.0, "well", "none")
    tally.asked("s", 5, 90.0, "late")
    found = tally.counters().strata["s"]
    assert (found.requests[3], found.requests[5]) == (2, 2)
    assert (found.fallbacks[3], sum(found.fallbacks)) == (1, 1)
    assert (found.empty_lists[5], sum(found.empty_lists)) == (1, 1)
    assert (found.errors[5], sum(found.errors)) == (1, 1)
    assert found.latency[latency_bin(90.0)][5 % FOLDS] == 1
    assert sum(map(sum, found.latency.values())) == sum(found.requests)


def test_latencies_are_reported_for_the_newest_shares_only_and_strata_are_bounded():
    tally = Tallies().of("movies-000001")
    for number in range(MAX_STRATA + 10):
        tally.asked(f"{number:08x}", 0, 1.0, "well")
    strata = tally.counters().strata
    timed = [name for name, found in strata.items() if found.latency]
    assert (len(strata), timed) == (MAX_STRATA, list(strata)[-MAX_TIMED_STRATA:])


def test_a_report_survives_json():
    tally = Tallies().of("movies-000001")
    tally.asked("s", 3, 1.0, "well")
    told = tally.counters()
    assert ArmCounters.model_validate_json(told.model_dump_json()) == told
