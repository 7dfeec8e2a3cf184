#!/usr/bin/env bash
# Sees to a browser for the tests of the service's page: Chromium, from Debian's or Ubuntu's packages if there is none.
# Installs it only as root with apt-get and without questions; otherwise says how to get one, and that those tests will
# be skipped. Ends well either way.
#   bash scripts/browser.sh
set -euo pipefail

say() { echo "browser: $*" >&2; }

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [[ "$(id -u)" -eq 0 ]] && command -v apt-get >/dev/null; then
    say "installing chromium for the tests of the page"
    export DEBIAN_FRONTEND=noninteractive
    patient=(timeout 600 apt-get -o Acquire::http::Timeout=20 -o Acquire::Retries=1 -qq)
    { "${patient[@]}" update && "${patient[@]}" install -y --no-install-recommends chromium; } >&2 && exit 0
    say "apt-get could not install chromium (above)"
fi
say "no browser: the tests of the page will be skipped. On Debian: apt-get install chromium (as root)."
