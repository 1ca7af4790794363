#!/usr/bin/env bash
# The benchmark on a machine with a GPU and no network, in parts of at most ten minutes:
#   bash experiments/speed/gpu.sh <part> <folder of the results> [more words for detr-diff bench]
# Parts: step, epoch, rest. There must be torch, torchvision, lightning, timm, torchmetrics, accelerate and opencv;
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
bench() {
  python3 -m detr_diff bench batch_size=8 turns=2 "tuned.dataloader_num_workers=$workers" "$@"
}
case $part in
  step)
    python3 experiments/speed/waits.py
    bench "out=$out/gpu_step" "parts=[floors,step]" "ours=[$ours,compile=inductor]" "$@"
    ;;
  epoch)
    bench "out=$out/gpu_epoch" "parts=[epoch,validation]" pairs=256 accumulate=4 "ours=[$ours,compile=inductor]" "$@"
    ;;
  # Not compiled: each size of a batch would be compiled by itself.
  rest) bench "out=$out/gpu_rest" "parts=[predict,startup,help,loading,largest,scaling]" pairs=64 "ours=[$ours]" "$@" ;;
  *) echo "step, epoch or rest, not $part" >&2; exit 2 ;;
esac
