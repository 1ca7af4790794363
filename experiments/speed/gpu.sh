#!/usr/bin/env bash
# The benchmark on a machine with a GPU and no network, for a loan of fifteen minutes in two calls, the second one at
# once after the first:
#   bash experiments/speed/gpu.sh first <folder of the results> [more words for detr-diff bench]     460 s at most
#   bash experiments/speed/gpu.sh second <folder>                                                    300 s at most
# first: floors and steps, then epochs of all stages. second: validation, compiled steps, what a step waits for.
# rest takes longer than both: loading, predict, start, largest batches, scaling.
# What has taken its time is stopped as Ctrl-C does, and keeps what it measured; bench.json lies flat in the folder, and
# what the sides said is in gpu_<part>.log.
# There must be torch, torchvision, lightning, timm, torchmetrics, accelerate and opencv. What else is needed travels as
# wheels in .whl/ (14 MB) and is installed here; they are made where a network is, by the Python that is there (3.12):
#   python3.12 -m pip wheel --no-deps -c .ci/constraints.txt -w .whl hydra-core omegaconf antlr4-python3-runtime pycocotools transformers
# Where a tool lends the machine, the two commands are
#   bash experiments/speed/gpu.sh first $OUT       with carry=[".whl"] and timeout_s=560
#   bash experiments/speed/gpu.sh second $OUT      with carry=[".whl"] and timeout_s=340
set -uo pipefail
part=$1 out=$2
shift 2
mkdir -p "$out"
export PYTHONPATH=$PWD:/tmp/site:${PYTHONPATH:-} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
workers=${WORKERS:-8}
ours=trainer.precision=bf16-mixed,data.cache=disk,data.num_workers=$workers
work=$(mktemp -d)
# bench <seconds> <name> [words]
bench() {
  local seconds=$1 name=$2
  shift 2
  timeout -s INT -k 40 "$seconds" python3 -m detr_diff bench "out=$work/$name" batch_size=8 \
    "tuned.dataloader_num_workers=$workers" "$@"
  # What was killed is in a folder that has no name yet.
  for folder in "$work/$name" "$work"/."$name".*; do
    if [ -f "$folder/bench.json" ]; then cp "$folder/bench.json" "$out/gpu_$name.json"; fi
    if [ -d "$folder/logs" ]; then tail -n 40 "$folder"/logs/*.log; fi
  done
}
measure() {
  if compgen -G ".whl/*.whl" >/dev/null && [ ! -d /tmp/site ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .whl/*.whl
  fi
  case $part in
    first)
      nvidia-smi
      df -h /dev/shm
      bench 240 step "parts=[floors,step]" turns=2 "ours=[$ours]" "$@"
      bench 200 epoch "parts=[epoch]" pairs=64 accumulate=4 turns=1 "ours=[$ours]" "$@"
      ;;
    second)
      bench 110 validation "parts=[validation]" "references=[plain]" pairs=64 turns=2 "ours=[$ours]" "$@"
      bench 110 compiled "parts=[floors,step]" "references=[tuned]" turns=2 "ours=[$ours,compile=inductor]" "$@"
      timeout -k 10 70 python3 experiments/speed/waits.py
      ;;
    # Not compiled: each size of a batch would be compiled by itself.
    rest) bench 540 rest "parts=[predict,startup,help,loading,largest,scaling]" pairs=64 turns=2 "ours=[$ours]" "$@" ;;
    *) echo "first, second or rest, not $part" >&2; return 2 ;;
  esac
}
measure "$@" 2>&1 | tee "$out/gpu_$part.log"
