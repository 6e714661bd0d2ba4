#!/usr/bin/env bash
# Makes .venv from requirements.lock and the four members: `make` calls it when one of them is newer than the last time.
# Needs Python >= 3.11 with venv, and the package index that pip and uv are set up for. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
UV_HOME="${RECSYS_CACHE:-$HOME/.cache/recsys-operator}/uv"
# The system's certificates: behind a proxy that signs for itself, those are the ones that hold.
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"

fail() {
    printf '\nerror: %s\n' "$*" >&2
    exit 2
}

# The first interpreter that the pinned packages have wheels for.
fits='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
python=""
for candidate in python3 python3.12 python3.13 python3.11; do
    if path=$(command -v "$candidate") && "$path" -I -c "$fits" >/dev/null 2>&1; then
        python=$("$path" -I -c 'import sys; print(sys.executable)')
        break
    fi
done
if [ -z "$python" ]; then
    seen=$(python3 --version 2>&1 || true)
    fail "Python: no interpreter from 3.11 up to 3.13 with the venv module on PATH (python3 is: ${seen:-missing})." \
        "Install one, for instance python3.12 with its venv package (python3-venv on Debian), then run make again."
fi

if [ "$("$UV_HOME/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
    echo "uv $UV_VERSION: installing into $UV_HOME"
    mkdir -p "$UV_HOME"
    "$python" -m venv --clear "$UV_HOME" &&
        "$UV_HOME/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" ||
        fail "uv $UV_VERSION could not be installed with pip (see above). Check the network and pip's index, then run make again."
fi
uv="$UV_HOME/bin/uv"

# A .venv whose interpreter has gone, or is of a version that no longer fits, is made again.
.venv/bin/python -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 ||
    "$uv" venv --quiet --clear --python "$python" .venv

began=$SECONDS
echo "Python packages of requirements.lock: installing into .venv (about 1 min the first time)"
# Compiled here, once: every process that imports ray would do it by itself where bytecode is not written.
printf -- '-e ./%s\n' schemas operator ray_apps dev |
    "$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.lock - ||
    fail "the packages of requirements.lock could not be installed (see above). Check the network, then run make again."
touch .venv/.installed
echo "Python packages: ready after $((SECONDS - began)) s"
