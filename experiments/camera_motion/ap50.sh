#!/usr/bin/env bash
# AP50 of one trained model on scenes whose camera shook, with each way of registration.
#   experiments/camera_motion/ap50.sh CHECKPOINT NEW_FOLDER
set -euo pipefail
checkpoint=$1 out=$2
mkdir "$out"
synth="pairs=600 scenes=120 seed=777"
detr-diff data synth out="$out/still" $synth shake=0
detr-diff data synth out="$out/shaken" $synth shake=8 turn=2
evaluate() {
    detr-diff evaluate ckpt_path="$checkpoint" data.root="$out/$1" data.registration="$2" \
        out="$out/$1-$2" overlays=4 trainer.enable_progress_bar=false > "$out/$1-$2.log" 2>&1
}
for set in still shaken; do
    for method in none phase ecc orb; do
        evaluate $set $method
    done
done
python - "$out" <<'PYTHON'
import csv, json, sys
from pathlib import Path

out = Path(sys.argv[1])
rows = [("frames", "registration", "AP50", "AP", "F1", "share of AP50 without shake", "pairs not aligned")]
whole = json.loads((out / "still-none/evaluation.json").read_text())["test/map_50"]
for path in sorted(out.glob("*/evaluation.json")):
    figures = json.loads(path.read_text())
    frames, method = path.parent.name.split("-")
    keys = ("test/map_50", "test/map", "test/f1")
    values = [f"{figures[key]:.3f}" for key in keys] + [f"{figures['test/map_50'] / whole:.3f}"]
    rows.append((frames, method, *values, f"{figures.get('test/unaligned', 0):.0f}"))
with (out / "ap50.csv").open("w", newline="") as file:
    csv.writer(file).writerows(rows)
print("\n".join("\t".join(row) for row in rows))
PYTHON
