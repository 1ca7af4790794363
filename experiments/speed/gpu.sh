#!/usr/bin/env bash
# The benchmark on a machine with a GPU and no network, for a loan of fifteen minutes in two calls:
#   bash experiments/speed/gpu.sh first <folder of the results> [more words for detr-diff bench]
#   bash experiments/speed/gpu.sh second <folder>
# first: whether everything works there, what a step waits for, the steps. second: epochs, validation, compiled steps, floors.
# rest takes longer than both: loading, predict, start, largest batches, scaling.
# What has taken its time is stopped as Ctrl-C does, and keeps what it measured; bench.json lies flat in the folder.
# There must be torch, torchvision, lightning, timm, torchmetrics, accelerate and opencv;
# what else is needed travels as wheels, made where a network is (python3.12, so that they fit there):
#   python3.12 -m pip wheel --no-deps -c .ci/constraints.txt -w .whl hydra-core omegaconf antlr4-python3-runtime pycocotools transformers
# and is installed there first:
#   python3 -m pip install --no-index --no-deps --target /tmp/site .whl/*.whl && export PYTHONPATH=/tmp/site
set -uo pipefail
part=$1 out=$2
shift 2
mkdir -p "$out"
exec > >(tee "$out/gpu_$part.log") 2>&1
export PYTHONPATH=$PWD:${PYTHONPATH:-} PYTHONUNBUFFERED=1
workers=${WORKERS:-8}
ours=trainer.precision=bf16-mixed,data.cache=disk,data.num_workers=$workers
work=$(mktemp -d)
# bench <seconds> <name> [words]
bench() {
  local seconds=$1 name=$2
  shift 2
  timeout -s INT -k 20 "$seconds" python3 -m detr_diff bench "out=$work/$name" batch_size=8 turns=2 \
    "tuned.dataloader_num_workers=$workers" "$@"
  cp "$work/$name/bench.json" "$out/gpu_${name}.json"
}
case $part in
  first)
    nvidia-smi
    df -h /dev/shm
    bench 120 short short=true device=cuda "parts=[floors,step,epoch,validation]" "ours=[$ours,data.num_workers=2,compile=inductor]" "$@"
    timeout -k 20 45 python3 experiments/speed/waits.py
    bench 180 step "parts=[step]" "ours=[$ours]" "$@"
    ;;
  second)
    bench 170 epoch "parts=[epoch]" "references=[plain]" pairs=128 accumulate=4 turns=1 "ours=[$ours]" "$@"
    bench 90 validation "parts=[validation]" pairs=128 "ours=[$ours]" "$@"
    bench 110 compiled "parts=[step]" "references=[tuned]" "ours=[$ours,compile=inductor]" "$@"
    bench 60 floors "parts=[floors,step]" "references=[plain]" turns=1 "ours=[$ours]" "$@"
    ;;
  # Not compiled: each size of a batch would be compiled by itself.
  rest) bench 540 rest "parts=[predict,startup,help,loading,largest,scaling]" pairs=64 "ours=[$ours]" "$@" ;;
  *) echo "first, second or rest, not $part" >&2; exit 2 ;;
esac
