#!/usr/bin/env bash
# Sets up, draws the demo's pictures, trains a nano OFA from scratch on them by cross-entropy, goes on with self-critical
# training, and evaluates both: minutes on two cores.
#   bash scripts/demo.sh                           into work_dir/demo and work_dir/demo_scst
#   bash scripts/demo.sh --set work_dir=work_dir/short --set train.epochs=1      arguments go to the first stage
# Each stage prints finetune.py's results JSON on stdout; the last line is that of the final model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
.venv/bin/python finetune.py --conf conf/demo.json "$@"

run=work_dir/demo
for argument in "$@"; do
    case "${argument#--set=}" in
    work_dir=*) run="${argument#*work_dir=}" ;;
    esac
done
.venv/bin/python finetune.py --conf conf/demo_scst.json --checkpoint "$run/output" --set work_dir="${run}_scst"
model="${run}_scst/output"
cat >&2 <<NEXT
demo: open ${run}_scst/report.html in a browser to see pictures, captions and scores ($run/report.html: before SCST)
demo: then caption a folder:
    .venv/bin/python finetune.py caption --model $model --image work_dir/drawn_scenes_2000/images --all-styles --out gallery.html
demo: or try the model in a browser:
    bash scripts/serve.sh --model $model
demo: and go on with photos of your own: README.md, "From your photos to a captioner"
NEXT
