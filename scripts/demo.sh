#!/usr/bin/env bash
# The whole job on the embedded default: SmolLM2-135M on the sample corpus. Arguments go to `neurolocal demo`.
set -euo pipefail
bash "$(dirname "${BASH_SOURCE[0]}")/install.sh" all
exec "$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/neurolocal" demo "$@"
