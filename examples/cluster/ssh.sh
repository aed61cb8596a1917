#!/bin/bash
# One search on machines that ssh reaches, with the same environment on each: ssh.sh HEAD OTHER..., on HEAD.
head="$1:6379"
export RAY_AUTH_MODE=token RAY_worker_niceness=0
RAY_AUTH_TOKEN="$(ray get-auth-token --generate)"
export RAY_AUTH_TOKEN
ray start --head --port=6379 --node-ip-address="$1"
trap 'for host in "$@"; do ssh "$host" ray stop; done' EXIT
for host in "${@:2}"; do
    echo "$RAY_AUTH_TOKEN" | ssh "$host" "read -r RAY_AUTH_TOKEN; export RAY_AUTH_TOKEN RAY_AUTH_MODE=token \
        RAY_worker_niceness=0; ray start --address=$head"
done
RAY_ADDRESS="$head" autoaccel tune model.py --budget 4h --executor ray
