#!/usr/bin/env bash
#SBATCH --job-name=neurolocal
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --gpus-per-task=1
# One shard of a collection for each task of a SLURM array; what follows FOLDER goes to `neurolocal collect`:
#
#   sbatch --array=0-15 scripts/slurm_collect.sh FOLDER --subject ./pythia-70m --corpus pile/ --dtype bfloat16
#   sbatch --dependency=afterok:JOB --wrap "neurolocal merge pile.h5 FOLDER/shard-*.h5"
#
# FOLDER is on storage that all nodes share. The array begins at 0. A task that was stopped resumes when it is submitted
# again, alone with --array=N too: then give the number of all tasks, SHARDS=16.
set -euo pipefail
if [ $# -lt 1 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  echo "usage: sbatch --array=0-N scripts/slurm_collect.sh FOLDER --subject MODEL --corpus TEXT ..." >&2
  exit 2
fi
folder=$1
shift
shards=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}
mkdir -p "$folder"
exec neurolocal collect --store "$folder/shard-$(printf %05d "$SLURM_ARRAY_TASK_ID").h5" \
  --shard "$SLURM_ARRAY_TASK_ID/$shards" "$@"
