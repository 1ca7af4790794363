#!/usr/bin/env bash
# One process with batches of 8, two with batches of 4: three stages, from the same trained weights.
# From the project's root: experiments/processes/train.sh CHECKPOINT DATA RUNS
set -euo pipefail
common=(model=rt_detr_small "model.pretrained=$1" "data.root=$2" "runs=$3" data.subset=400
  data.split_by=scene data.val=0.2 data.test=0.4 model.config.num_denoising=0 model.config.decoder_layers=2
  trainer.accumulate_grad_batches=1 logger=csv trainer.enable_progress_bar=false data.augment=strong
  stages=all '~stages.all'
  '+stages.heads={epochs: 1, learn: heads, lr: 1e-4}'
  '+stages.last={epochs: 1, learn: [heads, layer4], lr: 1e-4}'
  '+stages.backbone={epochs: 1, learn: [heads, backbone], lr: {heads: 1e-4, backbone: 5e-5}}')
OMP_NUM_THREADS=1 detr-diff train "${common[@]}" run_name=one data.batch_size=8
OMP_NUM_THREADS=1 detr-diff train "${common[@]}" run_name=two data.batch_size=4 trainer.devices=2
python -m experiments.processes.compare "$3/one" "$3/two"
