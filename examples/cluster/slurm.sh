#!/bin/bash
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=04:15:00
# One search on all GPUs of four nodes: sbatch slurm.sh. Home, the run folder and the environment are on a shared disk.
head="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):6379"
ray get-auth-token --generate > /dev/null  # made once for all runs, into ~/.ray/auth_token
export RAY_AUTH_MODE=token RAY_worker_niceness=0
srun ray symmetric-run --address "$head" --min-nodes "$SLURM_NNODES" --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    env RAY_ADDRESS="$head" autoaccel tune model.py --budget 4h --executor ray
