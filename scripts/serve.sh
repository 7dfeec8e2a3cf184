#!/usr/bin/env bash
# Sets up what the service needs and serves models: REST, a page in the browser, numbers for Prometheus (docs/service.md).
#   bash scripts/serve.sh --model work_dir/demo_scst/output                  http://127.0.0.1:8000, this machine alone
#   bash scripts/serve.sh --model work_dir/demo/output work_dir/demo_scst/output --port 9000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --serve
exec .venv/bin/python finetune.py serve "$@"
