#!/usr/bin/env bash
# Plain, Bayesian and fused x-vectors on VoxCeleb1: the published experiment.
#
#   recipes/voxceleb/run.sh --source DIR [--exp-dir exp/voxceleb] [--musan DIR] [--rirs DIR] [--gpu true]
#       [--config kaldi|modern|FILE] [--presets li2020] [--stage N] [--stop-stage M] [--smoke]
#
#   --source DIR      VoxCeleb1 as it was unpacked, with its lists (data_prep/voxceleb1.py download)
#   --lists NAMES     trial lists: o and o_original (default "o o_original"), e, h, e_original, h_original
#   --train-source DIR  train on VoxCeleb2 instead (as wav: data_prep/voxceleb2.py convert); e and h need it
#   --musan DIR       MUSAN as it was unpacked, for augmentation; --rirs DIR RIRS_NOISES likewise
#   --exp-dir DIR     results; a second run reuses what is done there
#   --data-dir DIR    where the data directories are made (default EXP_DIR/data)
#   --sample-rate R   16000 (default), or 8000: all speech is resampled, for tests on telephone speech
#   --ood-data DIR    also test on SRE 2010 core, out of domain: EXP_DIR/data/sre10 of recipes/sre10
#   --stage N         first stage, 1 to 8 (default 1); --stop-stage M the last (default 8)
#   --config C        the plain x-vector: kaldi (default), modern, or a YAML file
#   --presets NAMES   Bayesian presets (default li2020)
#   --seed S          of everything random (default 0)
#   --control true    also a second plain x-vector, and the fusion of the two plain ones
#   --gpu true        train in bf16 and extract on a GPU
#   --train-options WORDS  more flags for bbb train, such as "--max_steps 100000 --keep_steps [50000]"
#   --num-samples S   weight draws per embedding of the Bayesian system; 0: the posterior mean
#   --lda-dim D       of PLDA, 0 for none (default 200); --shrinkage S of its covariance (default 0)
#   --ci N            bootstrap resamples (default 1000); 0: no intervals
#   --smoke           a miniature of the corpus in synthetic voices and a few steps: does everything run?
#
# Stages: 1 prepare, 2 validate, 3 train plain, 4 train Bayesian, 5 extract, 6 score, 7 fuse, 8 table
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"
source "$recipe/../common/xvector.sh"
source "$recipe/../common/corpora.sh"

source= lists="o o_original" train_source= musan= rirs= exp_dir=exp/voxceleb data_dir= sample_rate=16000
ood_data= stage=1 stop_stage=8 config=kaldi presets=li2020 seed=0 control=false gpu=false train_options=
num_samples=0 lda_dim=200 shrinkage=0 ci=1000 smoke=false
parse_options "source lists train-source musan rirs exp-dir data-dir sample-rate ood-data stage stop-stage \
config presets seed control gpu train-options num-samples lda-dim shrinkage ci" "$@"

check_presets
check_ood trials_core_c5
data=${data_dir:-$exp_dir/data}
corpus_flags
((sample_rate == 8000 || sample_rate == 16000)) || fail "--sample-rate is 8000 or 16000, got $sample_rate"
title="VoxCeleb1, ${train_source:+trained on VoxCeleb2, }$(basename "$config" .yaml), seed $seed"
[[ -n $train_source ]] || published=$recipe/published.json
eval_sets=(test)
if [[ " $lists" == *" "[eh]* ]]; then
  [[ -n $train_source ]] || fail "the lists e and h are of speakers that VoxCeleb1's models are trained on; \
they are for models of VoxCeleb2: add --train-source, or leave them out"
  eval_sets+=(all)
fi
# The last one has every utterance of the lists.
train_data=$data/train eval_data=$data/${eval_sets[-1]}
if [[ -n $ood_data ]]; then
  sets="train eval enroll test"
  enroll_data=$ood_data/enroll test_data=$ood_data/test
fi
if [[ $smoke == true ]]; then
  smoke_sizes
  source=${source:-$exp_dir/corpus} lda_dim=4
fi

for_evaluations() {
  local name files=()
  for name in $lists; do
    [[ $name == o* ]] && files+=("$data/test/trials_$name") || files+=("$data/all/trials_$name")
  done
  "$@" . eval eval "" "${files[@]}"
  if [[ -n $ood_data ]]; then
    "$@" ood enroll test "$ood_data/model2utt_core" "$ood_data/trials_core_c5"
  fi
}

# prepare FOLDER: the data directories at the corpora's own rate.
prepare() {
  local sets=("${eval_sets[@]}") last=test/trials_o_original
  [[ ${eval_sets[-1]} == test ]] || last=all/trials_h_original
  if [[ -n $train_source ]]; then
    once "$1/train/wav.scp" prep voxceleb2 prepare --source "$train_source" --output "$1" --sets train
  else
    sets+=(train)
  fi
  once "$1/$last" prep voxceleb1 prepare --source "$source" --output "$1" --sets "${sets[@]}"
}

if stage 1 "prepare data directories"; then
  if [[ $smoke == true ]]; then
    once "$source/vox1_meta.csv" script common.miniature --corpus voxceleb1 --output "$source"
  fi
  [[ -n $source || -e $eval_data/wav.scp ]] || fail "--source DIR is needed: VoxCeleb1"
  prepare_augmentation
  if ((sample_rate == 16000)); then
    prepare "$data"
  else
    prepare "$data/16khz"
    for set in train "${eval_sets[@]}"; do
      once "$data/$set/wav.scp" prep resample "$data/16khz/$set" --output "$data/$set" --sample-rate 8000
    done
  fi
fi
if stage 2 "validate them"; then
  validate_once "$train_data"
  validate_once "$eval_data"
fi
xvector_stages
