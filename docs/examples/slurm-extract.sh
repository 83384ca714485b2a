#!/usr/bin/env bash
# Describe a collection by the 8 tasks of a Slurm array, each into a store of its own part; then make one index:
#
#   job=$(sbatch --parsable slurm-extract.sh /shared/work /shared/photos)
#   sbatch --dependency=afterok:"$job" slurm-index.sh /shared/work
#
# What follows the work folder goes to imgret extract. A task that failed is run again by its number, and goes on:
#
#   sbatch --array=7 slurm-extract.sh /shared/work /shared/photos
#
#SBATCH --job-name=imgret-extract
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

work=$1
shift
parts=8 # as --array says above; SLURM_ARRAY_TASK_COUNT is less where some tasks are run again

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
exec imgret extract -o "$work/part-$SLURM_ARRAY_TASK_ID" --part "$SLURM_ARRAY_TASK_ID/$parts" \
    --workers "$SLURM_CPUS_PER_TASK" --offline "$@"
