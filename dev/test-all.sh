#!/usr/bin/env bash
# All tests, one session for each kind of real part: what a session started is gone before the next one starts its own,
# so that two cores never carry two Ray heads. Tests marked `unproven` are left out, and said to be (make test-unproven). Every session runs, even when an earlier one failed; arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
summary=""
run() {
    local name=$1 began=$SECONDS log
    shift
    log=$(mktemp)
    printf '\n== %s\n' "$name"
    .venv/bin/python -m pytest -m "not unproven" "$@" 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]}
    # 5: no test was selected, as with -k.
    if [ "$status" -ne 0 ] && [ "$status" -ne 5 ]; then failed+=("$name"); fi
    summary+=$(printf '%-28s %5d s  %s' "$name" $((SECONDS - began)) "$(tail -n 1 "$log" | tr -d '=')")$'\n'
    rm -f "$log"
}
run "no real parts" tests/unit tests/properties tests/worlds "$@"
run "a real Kubernetes API, S3" tests/contracts tests/kube "$@"
run "real Kafka brokers" tests/kafka "$@"
run "a real Ray" tests/ray "$@"
run "the whole line" tests/e2e "$@"
printf '\n%s' "$summary"
passed=$(grep -oE '[0-9]+ passed' <<<"$summary" | awk '{n += $1} END {print n + 0}')
wrong=$(grep -oE '[0-9]+ (failed|error)' <<<"$summary" | awk '{n += $1} END {print n + 0}')
skipped=$(grep -oE '[0-9]+ skipped' <<<"$summary" | awk '{n += $1} END {print n + 0}')
echo "Left out: tests marked unproven, which make test-unproven runs."
if [ ${#failed[@]} -gt 0 ]; then printf 'failed: %s\n' "${failed[*]}"; fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$wrong" "$skipped"
[ ${#failed[@]} -eq 0 ]
