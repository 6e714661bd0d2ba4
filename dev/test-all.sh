#!/usr/bin/env bash
# All tests, one session for each kind of real part: what a session started is gone before its lane starts the next one.
# Three lanes side by side, for two cores: most of what tests do is wait. Only one lane has Ray in it, so that two heads are
# never up at once; the others give way to it. What a session prints comes when it has ended. Every session runs, even when
# an earlier one failed. Arguments go to pytest.
#
# A test that waits for real parts may fail because the machine stood still for a while. What failed is run once more, alone
# (docs/adr/0059): when it passes then, it is told as shaky, by name and with both reports, and does not fail the run. At most
# three in a session; none at all where a lost event or a broken promise would show only now and then; none with STRICT=1.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
most_again=3
[ "${STRICT:-0}" = 1 ] && most_again=0
order=("no real parts" "a real Kubernetes API" "real Kafka brokers" "storms" "a real Ray" "the whole line" "S3 and peers")

run() {
    local name=$1 began=$SECONDS
    shift
    printf '== %s: begins\n' "$name"
    .venv/bin/python -m pytest -o cache_dir="$logs/$name.cache" "$@" >"$logs/$name.log" 2>&1
    local status=$?
    failures "$logs/$name.log" >"$logs/$name.first"
    if [ "$status" -eq 1 ]; then
        again "$name" "$@"
        status=$?
    fi
    # 5: no test was selected, as with -k.
    if [ "$status" -ne 0 ] && [ "$status" -ne 5 ]; then touch "$logs/$name.failed"; fi
    local told
    told=$(grep -E '^=+ .*(passed|failed|error|no tests).* in ' "$logs/$name.log" | tail -n 1 | tr -d '=')
    printf '%-28s %5d s  %s\n' "$name" $((SECONDS - began)) "${told:- broke off with status $status}" >"$logs/$name.summary"
    # One writer at a time, or two sessions' reports would be torn into each other.
    flock "$logs" sh -c 'printf "\n== %s\n" "$1"; cat "$2"' - "$name" "$logs/$name.log"
}

# The last lines of a session that name what failed; what tests have logged may begin with the same words.
failures() {
    awk '/^=+ short test summary info =+$/ {told = 1; list = ""; next}
         /^=+ / {told = 0}
         told && /^(FAILED|ERROR) / {list = list substr($0, 1, 240) "\n"}
         END {printf "%s", list}' "$1"
}

# How many tests have failed since they last passed, by what pytest keeps of it.
left() {
    .venv/bin/python -c 'import json, pathlib, sys; kept = pathlib.Path(sys.argv[1]); print(len(json.loads(kept.read_text())) if kept.exists() else 0)' \
        "$logs/$1.cache/v/cache/lastfailed"
}

# 0 when all that failed, and nothing less, has passed the second time. A session that was broken off (-x) has not run the rest.
again() {
    local name=$1 failed passed
    shift
    failed=$(left "$name")
    if [ "$failed" -eq 0 ] || [ "$failed" -gt "$most_again" ]; then return 1; fi
    case $name in "real Kafka brokers" | storms) return 1 ;; esac
    if grep -qE '^!+ (stopping after|.*Interrupted)' "$logs/$name.log"; then return 1; fi
    printf '\n== %s: what failed, once more\n' "$name" >>"$logs/$name.log"
    .venv/bin/python -m pytest -o cache_dir="$logs/$name.cache" --last-failed --last-failed-no-failures=none "$@" >"$logs/$name.second" 2>&1
    local status=$?
    # What the summary counts is the first session.
    sed -E 's/^=+ (.*(passed|failed|error).* in .*[^=]) ?=+$/-- \1/' "$logs/$name.second" >>"$logs/$name.log"
    passed=$(tail -n 1 "$logs/$name.second" | grep -oE '[0-9]+ passed' | cut -d ' ' -f 1)
    if [ "$status" -ne 0 ] || [ "${passed:-0}" -ne "$failed" ] || [ "$(left "$name")" -ne 0 ]; then return 1; fi
    mv "$logs/$name.first" "$logs/$name.shaky"
}

without_brokers() {
    renice -n 10 $BASHPID >/dev/null
    run "no real parts" tests/unit tests/properties tests/worlds "$@"
    run "a real Kubernetes API" tests/kube "$@"
}

with_brokers() {
    renice -n 10 $BASHPID >/dev/null
    run "real Kafka brokers" tests/kafka "$@"
    run "storms" tests/chaos "$@"
}

with_ray() {
    run "a real Ray" tests/ray "$@"
    run "the whole line" tests/e2e "$@"
    run "S3 and peers" tests/contracts "$@"
}

without_brokers "$@" &
with_brokers "$@" &
with_ray "$@" &
wait

printf '\n'
for name in "${order[@]}"; do
    # Its lane was killed before it had told anything.
    if [ ! -e "$logs/$name.summary" ]; then
        touch "$logs/$name.failed" "$logs/$name.first"
        printf '%-28s         did not come to its end\n' "$name" >"$logs/$name.summary"
    fi
    cat "$logs/$name.summary"
done
count() { cat "$logs"/*.summary | grep -oE "[0-9]+ ($1)" | awk '{n += $1} END {print n + 0}'; }
for name in "${order[@]}"; do
    if [ -e "$logs/$name.shaky" ]; then
        printf 'shaky, failed once and then passed alone: %s\n' "$name"
        cat "$logs/$name.shaky"
    fi
    if [ -e "$logs/$name.failed" ]; then
        printf 'failed: %s\n' "$name"
        # Which ones, again: their reports are far above.
        head -n 20 "$logs/$name.first"
    fi
done
shaky=$(cat /dev/null "$logs"/*.shaky 2>/dev/null | wc -l)
printf '%d passed, %d failed, %d shaky, %d skipped, %d s\n' \
    $(($(count passed) + shaky)) $(($(count 'failed|error|errors') - shaky)) "$shaky" "$(count skipped)" "$SECONDS"
! compgen -G "$logs/*.failed" >/dev/null
