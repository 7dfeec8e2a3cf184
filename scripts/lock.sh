#!/usr/bin/env bash
# Makes locks/ anew from requirements*.txt: every package that they bring along, by version and by the hashes of all
# files that PyPI lists for it, for Linux, macOS and Windows and Python 3.11 and newer. Needs PyPI, not .venv.
#   bash scripts/lock.sh              keeps the versions that are locked, where requirements*.txt allow them
#   bash scripts/lock.sh --upgrade    takes the newest ones; further arguments go to uv
# Then it writes docs/licences.md, of all that is locked for this machine (minutes; nothing is installed).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
PIP_DISABLE_PIP_VERSION_CHECK=1 "$place/venv/bin/python" -m pip install --quiet uv==0.13.9 pip==26.3

# Only wheels: nothing of a package runs while it is installed. Without configuration uv and pip ask PyPI, so that no
# file of a mirror or another place gets in.
compile() {
    env -u UV_DEFAULT_INDEX -u UV_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
        "$place/venv/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 \
        --only-binary :all: --no-header "$@"
}
# Packages of a lock that everybody gets; behind a semicolon stands on which machines alone the others are installed.
names_in() { sed -nE 's/^([A-Za-z0-9._-]+)==[^;]*$/\1/p' "$1"; }

# One resolution of everything, so that no two files disagree; then a file for each part.
mkdir -p locks
cat locks/*.txt >"$place/all.txt" 2>/dev/null || true
compile --no-annotate --output-file "$place/all.txt" "$@" requirements*.txt
# torch and what its CUDA build alone brings: other indexes have other builds of the same version (scripts/setup.sh).
sed -nE 's/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==.*/\1/p' "$place/all.txt" >"$place/torch.names"

# lock FILE_OF_REQUIREMENTS LOCK WITHOUT...: its part, less the packages whose names are in the files WITHOUT
lock() {
    local requirements="$1" target="$2" name
    local less=()
    while read -r name; do less+=(--no-emit-package "$name"); done < <(sort -u "${@:3}")
    {
        echo "# Made by scripts/lock.sh; what scripts/setup.sh installs. Change requirements*.txt and make it anew."
        compile --no-annotate --generate-hashes --constraints "$place/all.txt" "${less[@]}" "$requirements" |
            grep -v '^#' # uv lists what was left out
    } >"$place/lock.txt"
    mv "$place/lock.txt" "$target"
}

lock requirements.txt locks/requirements.txt "$place/torch.names"
names_in locks/requirements.txt >"$place/base.names"
lock requirements.txt locks/torch.txt "$place/base.names"
for file in requirements-*.txt; do
    lock "$file" "locks/$file" "$place/base.names" "$place/torch.names"
done
all=(locks/*.txt)
echo "lock: holding the hashes against PyPI's files, and reading their licences" >&2
env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null "$place/venv/bin/python" -m pip \
    install --quiet --dry-run --ignore-installed --no-deps --require-hashes --only-binary :all: \
    --report "$place/report.json" "${all[@]/#/--requirement=}"
"$place/venv/bin/python" scripts/licences.py <"$place/report.json"
