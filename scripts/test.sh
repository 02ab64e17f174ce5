#!/usr/bin/env bash
# Lint, types, and all tests, fast ones first. Arguments go to pytest instead (then nothing else is run).
set -euo pipefail
# Compiled modules are kept: where PYTHONDONTWRITEBYTECODE is set, each start compiles all of them again, 10 s or more.
unset PYTHONDONTWRITEBYTECODE
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh dev
export PATH="$PWD/.venv/bin:$PATH"
# Threads that wait must not spin: tests run beside other work on few cores.
export OMP_WAIT_POLICY=passive
if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
ruff check .
ruff format --check .
pyright
# Two processes: most tests keep one core busy, and two cores are what they must fit on.
python -m pytest -n 2 -m "not slow" --durations=5
python -m pytest -n 2 -m slow --durations=10
