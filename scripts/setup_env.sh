#!/bin/sh
# Makes the virtual environment from requirements.lock (hashes checked) and installs this checkout into it.
# PYTHON: the interpreter to use (3.11 or newer; searched for when the given one is older). VENV: where to.
set -eu

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3; do
    if fits "$candidate"; then python=$candidate; break; fi
done
if [ -z "${python:-}" ]; then
    echo "arbshard needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2
    exit 2
fi

if command -v uv >/dev/null 2>&1; then
    echo "setup 1 of 3: making an environment in $VENV with $("$python" --version), by uv"
    uv venv --quiet --clear --python "$("$python" -c 'import sys; print(sys.executable)')" "$VENV"
    echo "setup 2 of 3: installing the pinned libraries of requirements.lock (seconds, or a minute or two the first time)"
    uv pip install --quiet --python "$VENV/bin/python" --require-hashes -r requirements.lock
    echo "setup 3 of 3: installing this checkout"
    uv pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation -e .
else
    echo "setup 1 of 3: making an environment in $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV"
    echo "setup 2 of 3: installing the pinned libraries of requirements.lock (one to three minutes)"
    "$VENV/bin/python" -m pip install --quiet --require-hashes -r requirements.lock
    echo "setup 3 of 3: installing this checkout"
    "$VENV/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
fi
"$VENV/bin/python" -c 'import supervisor, sys; sys.exit(not hasattr(supervisor, "ARBSHARD"))' || {
    echo "another package named 'supervisor' (PyPI's process manager) shadows arbshard's in $VENV" >&2
    exit 2
}
