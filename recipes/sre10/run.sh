#!/usr/bin/env bash
# Plain, Bayesian and fused x-vectors on telephone speech: NIST SRE 2010, the published experiment.
#
#   recipes/sre10/run.sh --source DIR [--exp-dir exp/sre10] [--musan DIR] [--rirs DIR] [--gpu true]
#       [--config kaldi|modern|FILE] [--presets li2020] [--stage N] [--stop-stage M] [--smoke]
#
#   --source DIR      folder of LDC releases, named by catalogue number: LDC2017S06 (SRE 2010), those of
#                     SRE 2004 to 2008 and of Switchboard (data_prep/{sre10,sre,switchboard}.py), and
#                     OpenSLR's speaker_list
#   --drop-bad true   leave out sides of training calls that cannot be used, instead of refusing
#   --musan DIR       MUSAN as it was unpacked, for augmentation; --rirs DIR RIRS_NOISES likewise
#   --exp-dir DIR     results; a second run reuses what is done there
#   --data-dir DIR    where the data directories are made (default EXP_DIR/data)
#   --ood-data DIR    also test on VoxCeleb1-O, out of domain: EXP_DIR/data of recipes/voxceleb at 8 kHz
#   --stage N         first stage, 1 to 8 (default 1); --stop-stage M the last (default 8)
#   --config C        the plain x-vector: kaldi (default), modern, or a YAML file
#   --presets NAMES   Bayesian presets (default li2020)
#   --seed S          of everything random (default 0)
#   --control true    also a second plain x-vector, and the fusion of the two plain ones
#   --gpu true        train in bf16 and extract on a GPU
#   --train-options WORDS  more flags for bbb train, such as "--max_steps 100000 --keep_steps [50000]"
#   --num-samples S   weight draws per embedding of the Bayesian system; 0: the posterior mean
#   --lda-dim D       of PLDA, 0 for none (default 150); --shrinkage S of its covariance (default 0)
#   --ci N            bootstrap resamples (default 1000); 0: no intervals
#   --smoke           a miniature of the corpora in synthetic voices and a few steps: does everything run?
#
# Stages: 1 prepare, 2 validate, 3 train plain, 4 train Bayesian, 5 extract, 6 score, 7 fuse, 8 table
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"
source "$recipe/../common/xvector.sh"
source "$recipe/../common/corpora.sh"

source= drop_bad=false musan= rirs= exp_dir=exp/sre10 data_dir= sample_rate=8000 ood_data= stage=1
stop_stage=8 config=kaldi presets=li2020 seed=0 control=false gpu=false train_options= num_samples=0
lda_dim=150 shrinkage=0 ci=1000 smoke=false
parse_options "source drop-bad musan rirs exp-dir data-dir ood-data stage stop-stage config presets seed \
control gpu train-options num-samples lda-dim shrinkage ci" "$@"

check_presets
check_ood test/trials_o
data=${data_dir:-$exp_dir/data}
corpus_flags
title="SRE10 core, condition 5, $(basename "$config" .yaml), seed $seed"
published=$recipe/published.json
sets="train enroll test"
train_data=$data/train plda_data=$data/sre enroll_data=$data/sre10/enroll test_data=$data/sre10/test
if [[ -n $ood_data ]]; then
  sets+=" ood"
  ood_data=$ood_data/test
fi
if [[ $smoke == true ]]; then
  smoke_sizes
  source=${source:-$exp_dir/corpus} lda_dim=2
fi

for_evaluations() {
  local trials=$data/sre10/trials_core_c5
  "$@" . enroll test "$data/sre10/model2utt_core" "$trials" "$trials"_f "$trials"_m
  if [[ -n $ood_data ]]; then
    "$@" ood ood ood "" "$ood_data/trials_o"
  fi
}

if stage 1 "prepare data directories"; then
  if [[ $smoke == true ]]; then
    once "$source/LDC2017S06/data/eval/keys/core-core.trialkey.csv" script common.miniature --corpus sre --output "$source"
  fi
  [[ -n $source || -e $train_data/wav.scp ]] || fail "--source DIR is needed: the folder of LDC releases"
  prepare_augmentation
  decode=(--decode "$data/decoded") training=(--exclude "$enroll_data")
  [[ $drop_bad == false ]] || training+=(--drop-bad)
  once "$data/sre10/trials_core_c5" prep sre10 prepare --source "$source/LDC2017S06" \
    --output "$data/sre10" --tests core-core --conditions 5 "${decode[@]}"
  # Some speakers of 2010 also spoke in earlier years.
  once "$plda_data/wav.scp" prep sre prepare --source "$source" --output "$data" "${decode[@]}" \
    "${training[@]}" --drop-excluded
  once "$data/swbd/wav.scp" prep switchboard prepare --source "$source" --output "$data" "${decode[@]}" \
    "${training[@]}"
  once "$train_data/wav.scp" prep combine "$plda_data" "$data/swbd" --output "$train_data" \
    --exclude "$enroll_data"
fi
if stage 2 "validate them"; then
  for set in "$train_data" "$enroll_data" "$test_data"; do
    validate_once "$set"
  done
fi
xvector_stages
