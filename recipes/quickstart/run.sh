#!/usr/bin/env bash
# Plain, Bayesian and fused x-vectors on synthetic speakers: the whole recipe, without any download.
#
#   recipes/quickstart/run.sh [--exp-dir exp/quickstart] [--stage N] [--stop-stage M]
#       [--config FILE] [--seed S] [--control true] [--smoke]
#
#   --exp-dir DIR     results; a second run reuses what is done there
#   --stage N         first stage, 1 to 8 (default 1); --stop-stage M the last (default 8)
#   --config FILE     YAML of the plain x-vector (default conf/xvector.yaml)
#   --presets NAMES   Bayesian presets, conf/NAME.yaml (default all_frames)
#   --seed S          of the trainings (default 0); the corpus stays the same
#   --control true    also a second plain x-vector, and the fusion of the two plain ones
#   --num-samples S   weight draws per embedding of the Bayesian system; 0: the posterior mean
#   --threads T       CPU threads of a training (default: torch's)
#   --lda-dim D       of PLDA, 0 for none (default 100); --shrinkage S of its covariance (default 0)
#   --ci N            bootstrap resamples (default 1000); 0: no intervals
#   --smoke           a tiny corpus and a few steps, to see that everything runs
#
# Stages: 1 make speakers, 2 validate, 3 train plain, 4 train Bayesian, 5 extract, 6 score, 7 fuse, 8 table
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"
source "$recipe/../common/xvector.sh"

exp_dir=exp/quickstart stage=1 stop_stage=8 config=$recipe/conf/xvector.yaml presets=all_frames
seed=0 control=false num_samples=0 threads= lda_dim=100 shrinkage=0 ci=1000 smoke=false
parse_options "exp-dir stage stop-stage config presets seed control num-samples threads lda-dim shrinkage ci" "$@"

check_presets
title="Quickstart: synthetic speakers, seed $seed"
train_data=$exp_dir/data/train
eval_data=$exp_dir/data/test
corpus=(--train-speakers 200 --eval-speakers 50)
[[ -z $threads ]] || train_flags+=(--threads "$threads")
if [[ $smoke == true ]]; then
  corpus=(--train-speakers 6 --eval-speakers 6 --sessions 2 --utterances-per-session 2)
  smoke_sizes
  lda_dim=4
fi

if stage 1 "make synthetic speakers"; then
  prep synthetic prepare --output "$exp_dir/data" "${corpus[@]}"
fi
if stage 2 "validate the data directories"; then
  for set in "$train_data" "$eval_data"; do
    bbb data validate "$set"
  done
fi
xvector_stages
