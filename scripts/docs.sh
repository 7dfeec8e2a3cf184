#!/usr/bin/env bash
# Makes a site with search of README and docs/ in site/, which any web server shows; nothing is fetched while it is read.
#   bash scripts/docs.sh
#   .venv/bin/python -m http.server --directory site --bind 127.0.0.1    then open http://127.0.0.1:8000
# Fails where a page, a picture or an anchor that is linked is not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --docs
exec .venv/bin/python scripts/docs_site.py --into site
