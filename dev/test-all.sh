#!/usr/bin/env bash
# All tests, one session for each kind of real part: what a session started is gone before its lane starts the next one.
# Three lanes side by side, for two cores: most of what tests do is wait. Only one lane has Ray in it, so that two heads are
# never up at once; the others give way to it. What a session prints comes when it has ended. Every session runs, even when
# an earlier one failed. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
order=("no real parts" "a real Kubernetes API" "real Kafka brokers" "storms" "a real Ray" "the whole line" "S3 and peers")

run() {
    local name=$1 began=$SECONDS
    shift
    printf '== %s: begins\n' "$name"
    .venv/bin/python -m pytest "$@" >"$logs/$name.log" 2>&1
    local status=$?
    # 5: no test was selected, as with -k.
    if [ "$status" -ne 0 ] && [ "$status" -ne 5 ]; then touch "$logs/$name.failed"; fi
    local told
    told=$(grep -E '^=+ .*(passed|failed|error|no tests).* in ' "$logs/$name.log" | tail -n 1 | tr -d '=')
    printf '%-28s %5d s  %s\n' "$name" $((SECONDS - began)) "${told:- broke off with status $status}" >"$logs/$name.summary"
    # One writer at a time, or two sessions' reports would be torn into each other.
    flock "$logs" sh -c 'printf "\n== %s\n" "$1"; cat "$2"' - "$name" "$logs/$name.log"
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
for name in "${order[@]}"; do cat "$logs/$name.summary"; done
count() { cat "$logs"/*.summary | grep -oE "[0-9]+ ($1)" | awk '{n += $1} END {print n + 0}'; }
for name in "${order[@]}"; do
    if [ -e "$logs/$name.failed" ]; then
        printf 'failed: %s\n' "$name"
        # Which ones, again: their reports are far above.
        grep -E '^(FAILED|ERROR) ' "$logs/$name.log" | cut -c 1-240 | head -n 20 || true
    fi
done
printf '%d passed, %d failed, %d skipped, %d s\n' "$(count passed)" "$(count 'failed|error|errors')" "$(count skipped)" "$SECONDS"
! compgen -G "$logs/*.failed" >/dev/null
