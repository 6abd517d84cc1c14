#!/usr/bin/env bash
# Plain, Bayesian and fused x-vectors on speechocean762 (real speech).
#
#   recipes/speechocean762/run.sh --source DIR [--exp-dir exp/speechocean762] [--presets "best li2020"]
#       [--stage N] [--stop-stage M] [--config FILE] [--seed S] [--control true] [--smoke]
#
#   --source DIR      the unpacked OpenSLR archive, or a folder with metadata.csv (see README.md)
#   --exp-dir DIR     results; a second run reuses what is done there
#   --data-dir DIR    where the data directories are made (default EXP_DIR/data)
#   --stage N         first stage, 1 to 8 (default 1); --stop-stage M the last (default 8)
#   --config FILE     YAML of the plain x-vector (default conf/xvector.yaml)
#   --presets NAMES   Bayesian presets, NAME.yaml in conf or ../common/conf: best (default), li2020, or "best li2020"
#   --seed S          of everything random (default 0)
#   --dev N           hold out N training speakers and evaluate on them, for tuning (default 0)
#   --control true    also a second plain x-vector, and the fusion of the two plain ones
#   --noise-dir DIR   noise recordings for augmentation; --rir-dir DIR room impulse responses
#   --num-samples S   weight draws per embedding of the Bayesian system; 0: the posterior mean
#   --threads T       CPU threads of a training (default: torch's)
#   --lda-dim D       of PLDA, 0 for none (default 150); --shrinkage S of its covariance (default 0)
#   --ci N            bootstrap resamples (default 1000); 0: no intervals
#   --smoke           a few steps of a tiny network, to see that everything runs
#
# Stages: 1 prepare, 2 validate, 3 train plain, 4 train Bayesian, 5 extract, 6 score, 7 fuse, 8 table
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"
source "$recipe/../common/xvector.sh"

source= data_dir= exp_dir=exp/speechocean762 stage=1 stop_stage=8 config=$recipe/conf/xvector.yaml presets=best
seed=0 dev=0 control=false noise_dir= rir_dir= num_samples=0 threads= lda_dim=150 shrinkage=0 ci=1000 smoke=false
parse_options "source data-dir exp-dir stage stop-stage config presets seed dev control noise-dir rir-dir \
num-samples threads lda-dim shrinkage ci" "$@"

check_presets
title="speechocean762, seed $seed"
data=${data_dir:-$exp_dir/data}
train_data=$data/train
eval_data=$data/test
((dev == 0)) || eval_data=$data/dev
[[ -z $threads ]] || train_flags+=(--threads "$threads")
[[ -z $noise_dir ]] || train_flags+=(--augment.noise_dir "$noise_dir" --augment.noise_prob 0.5)
[[ -z $rir_dir ]] || train_flags+=(--augment.rir_dir "$rir_dir" --augment.rir_prob 0.3)
if [[ $smoke == true ]]; then
  smoke_sizes
  lda_dim=8
fi

if stage 1 "prepare data directories"; then
  [[ -n $source || -e $eval_data/trials ]] || fail "--source DIR is needed: the corpus's folder"
  once "$eval_data/trials" prep speechocean762 prepare \
    --source "$source" --output "$data" --dev-speakers "$dev"
fi
if stage 2 "validate them"; then
  for set in "$train_data" "$eval_data"; do
    bbb data validate "$set"
  done
fi
xvector_stages
