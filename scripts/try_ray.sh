#!/usr/bin/env bash
# Sets up with Ray, runs the demo's sweep of 8 trials on a cluster of two nodes, kills one of them while it trains, and
# shows that all trials end all the same: minutes on two cores. Both nodes are on this machine (Linux).
#   bash scripts/try_ray.sh                    into work_dir/try_ray
#   bash scripts/try_ray.sh FOLDER
# Standard output gets a line for each trial and, last, whether all have ended; the exit code says the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "try_ray: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
folder="${1:-work_dir/try_ray}"
sweep="$folder/sweep"
first_node=127.0.0.2
second_node=127.0.0.3
[[ ! -e "$folder" ]] || fail "$folder: is there already; remove it, or give another folder."

bash scripts/setup.sh --ray
mkdir -p "$folder"
ray_files="$(mktemp -d)" # its sockets lie there, whose paths must be short
processes=()
running="" # the sweep, once it does

clean_up() {
    trap - EXIT
    local process
    for process in "${processes[@]}"; do # the sweep first, while it has its nodes
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$ray_files"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# wait_for SECONDS WHAT COMMAND...: until the command succeeds, and not longer than the sweep runs
wait_for() {
    local seconds="$1" what="$2" end
    shift 2
    end=$((SECONDS + seconds))
    until "$@"; do
        ((SECONDS < end)) || fail "$what: not after $seconds seconds; see the logs in $folder."
        [[ -z "$running" ]] || kill -0 "$running" 2>/dev/null || fail "$what: the sweep ended first; see $folder."
        sleep 0.2
    done
}
python() { .venv/bin/python "$@"; }
free_port() { python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
# Processes below another one whose command line has a certain word in it.
below() {
    python -c '
import sys, psutil
for process in psutil.Process(int(sys.argv[1])).children(recursive=True):
    if any(sys.argv[2] in word for word in process.cmdline()):
        print(process.pid)' "$1" "$2"
}
are_gone() {
    local process
    for process in "$@"; do
        if kill -0 "$process" 2>/dev/null; then return 1; fi
    done
}

# Ray listens on all addresses of the machine, whatever it is told: this keeps everybody else out.
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
address="$first_node:$(free_port)"
node=(.venv/bin/ray start --num-cpus=1 --num-gpus=0 --object-store-memory=100000000)
node+=(--min-worker-port=0 --max-worker-port=0 --block) # 0: any free port
say "starting two nodes of one CPU each, $first_node and $second_node"
"${node[@]}" --head --port="${address#*:}" --node-ip-address="$first_node" --temp-dir="$ray_files" \
    --include-dashboard=false --ray-client-server-port="$(free_port)" &>"$folder/first.log" &
processes=("$!")
wait_for 120 "the first node" grep -qs "Ray runtime started" "$folder/first.log"
"${node[@]}" --address="$address" --node-ip-address="$second_node" &>"$folder/second.log" &
second=$!
processes=("$second" "${processes[@]}")
wait_for 120 "the second node" grep -qs "Ray runtime started" "$folder/second.log"

.venv/bin/python -m sweeps run cpu,cpu --engine ray --address "$address" --conf conf/sweep_demo.json \
    --work_dir "$sweep" --set checkpoint.every_epochs=0.5 >"$folder/result.json" 2> >(tee "$folder/sweep.log" >&2) &
running=$!
processes=("$running" "${processes[@]}")

wait_for 300 "a trial on the second node" grep -qs " on $second_node;" "$folder/sweep.log"
line="$(grep -m 1 " on $second_node;" "$folder/sweep.log")" # 10:49:24 002-seed7 on 127.0.0.3; ...
trial="${line#* }"
trial="${trial%% on *}"
has_checkpoint() { compgen -G "$sweep/trials/$trial/checkpoints/*/trainer_state.json" >/dev/null; }
wait_for 600 "a checkpoint of $trial" has_checkpoint
raylet="$(below "$second" raylet_socket_name | head -n 1)"
mapfile -t lost < <(below "$raylet" "trials/$trial")
((${#lost[@]})) || fail "$trial is no longer on the second node; remove $folder and try again."
say "killing the second node (process $raylet), which trains $trial (processes ${lost[*]})"
kill -KILL "$raylet"
killed=$SECONDS
wait_for 60 "the end of $trial there" are_gone "${lost[@]}"
say "nothing of $trial was left there after $((SECONDS - killed)) s"

code=0
wait "$running" || code=$?
ended=0
for ((i = 0; i < 8; i++)); do
    name="$(python -m utils.json_tool get "$sweep/leaderboard.json" "configurations.$i.trials.0.name")"
    state="$(python -m utils.json_tool get "$sweep/leaderboard.json" "configurations.$i.state")"
    echo "$name: $state, started $(grep -c "^=== " "$sweep/logs/$name.log") times"
    if [[ "$state" == trained || "$state" == stopped ]]; then ended=$((ended + 1)); fi
done
if [[ $code -ne 0 || $ended -ne 8 ]]; then
    echo "NOT all trials have ended: $ended of 8, exit code $code; see $folder"
    exit 1
fi
echo "all 8 trials have ended, though the node that trained $trial was killed"
