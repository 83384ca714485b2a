#!/usr/bin/env bash
# Make one store and one index of the parts of slurm-extract.sh:
#
#   sbatch slurm-index.sh /shared/work
#
# What follows the work folder goes to imgret index. A part that is missing is an error, not a smaller index.
#
#SBATCH --job-name=imgret-index
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

work=$1
shift
parts=8 # as in slurm-extract.sh
stores=()
for part in $(seq "$parts"); do
    stores+=("$work/part-$part")
done

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
imgret merge "${stores[@]}" -o "$work/store"
exec imgret index "$work/store" -o "$work/index" "$@"
