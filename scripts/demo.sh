#!/usr/bin/env bash
# The whole job on the embedded default: SmolLM2-135M on the sample corpus. Arguments go to `neurolocal demo`.
# llama-cpp-python, which takes longest to install, is needed by the descriptions only: everything else is done first.
set -euo pipefail
# Compiled modules are kept: where PYTHONDONTWRITEBYTECODE is set, each start compiles all of them again, 10 s or more.
unset PYTHONDONTWRITEBYTECODE
install="$(dirname "${BASH_SOURCE[0]}")/install.sh"
neurolocal="$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/neurolocal"
if ! bash "$install" all --check && ! bash "$install" dev --check; then
  bash "$install" similarity,site,glove
  "$neurolocal" demo --until verdict "$@"
  bash "$install" all
fi
exec "$neurolocal" demo "$@"
