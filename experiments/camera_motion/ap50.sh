#!/usr/bin/env bash
# AP50 of one trained model on scenes whose camera shook more and more, with each way of registration.
#   experiments/camera_motion/ap50.sh CHECKPOINT NEW_FOLDER
# Writes ap50.csv and ap50.png into the folder.
set -euo pipefail
checkpoint=$1 out=$2
mkdir "$out"
for shake in 0 2 4 8; do
    turn=$(python -c "print($shake / 4)")
    detr-diff data synth out="$out/$shake" pairs=600 scenes=120 seed=777 shake=$shake turn="$turn"
    for method in none phase ecc orb; do
        detr-diff evaluate ckpt_path="$checkpoint" data.root="$out/$shake" data.registration=$method \
            out="$out/$shake-$method" overlays=2 trainer.enable_progress_bar=false > "$out/$shake-$method.log" 2>&1
    done
done
python - "$out" <<'PYTHON'
import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

out = Path(sys.argv[1])
figures = {tuple(path.parent.name.split("-")): json.loads(path.read_text()) for path in out.glob("*/evaluation.json")}
still = figures["0", "none"]["test/map_50"]
rows = [("shake px", "turn degrees", "registration", "AP50", "share of AP50 without shake", "AP", "F1", "unaligned")]
for (shake, method), own in sorted(figures.items()):
    values = [own["test/map_50"], own["test/map_50"] / still, own["test/map"], own["test/f1"]]
    rows.append((shake, int(shake) / 4, method, *(f"{v:.3f}" for v in values), int(own.get("test/unaligned", 0))))
with (out / "ap50.csv").open("w", newline="") as file:
    csv.writer(file).writerows(rows)
print("\n".join("\t".join(map(str, row)) for row in rows))
axes = pyplot.figure(figsize=(6, 4)).gca()
for method, style in (("none", "k--"), ("phase", "o-"), ("ecc", "s-"), ("orb", "^-")):
    shakes = sorted({int(shake) for shake, _ in figures})
    axes.plot(shakes, [figures[str(shake), method]["test/map_50"] for shake in shakes], style, label=method)
axes.axhline(0.95 * still, color="grey", linewidth=0.8)
axes.set(xlabel="largest shake in pixels (and 1/4 of it in degrees), frames of 160x128", ylabel="AP50", ylim=(0, 1))
axes.legend(title="data.registration")
axes.figure.savefig(out / "ap50.png", dpi=110, bbox_inches="tight")
PYTHON
