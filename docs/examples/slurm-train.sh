#!/usr/bin/env bash
# Train on two nodes, a process for each GPU:
#
#   sbatch slurm-train.sh small --data /shared/photos -o /shared/runs/small
#
# All that follows goes to imgret train. Data and run lie on a folder that all nodes share. Submitted again, with as
# many processes, it goes on from the last checkpoint.
#
#SBATCH --job-name=imgret-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=128G
#SBATCH --time=48:00:00
#SBATCH --requeue
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000)) # two runs may share a node
processes=${SLURM_GPUS_ON_NODE:-1}

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it over from sbatch
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / processes))
rendezvous=(--nnodes "$SLURM_NNODES" --nproc-per-node "$processes" --master-addr "$first" --master-port "$port")

# The node's rank is known on the node alone. Where one ends the others would wait for it.
exec srun --kill-on-bad-exit=1 bash -c 'exec torchrun --node-rank "$SLURM_NODEID" "$@"' torchrun "${rendezvous[@]}" \
    -m imgret train --workers "$OMP_NUM_THREADS" "$@"
