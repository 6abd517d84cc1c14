#!/usr/bin/env bash
# Does a variational autoencoder between extractor and back-end help? (Zhang, Li and Wang 2019)
#
#   recipes/normalization/run.sh --source "DIR DIR ..." --data DIR [--exp-dir exp/normalization]
#       [--dev-source DIR --dev-data DIR] [--stage N] [--stop-stage M] [--config FILE] [--seeds "0 1 2"]
#       [--smoke]
#
#   --source DIRS      folders of extractors with train_0.npz and eval_0.npz, as other recipes make them
#   --data DIR         their data: train/utt2spk, test/utt2spk and test/trials
#   --exp-dir DIR      results; a second run reuses what is done there
#   --dev-source DIR   an extractor that was trained without the speakers of --dev-data DIR/dev
#   --dev-data DIR     train/utt2spk, dev/utt2spk and dev/trials
#   --stage N          first stage, 1 to 3 (default 1); --stop-stage M the last (default 3)
#   --config FILE      YAML of the systems (default conf/systems.yaml)
#   --search FILE      YAML of the systems of stage 1 (default conf/search.yaml)
#   --seeds S          of the normalisers, each with every extractor (default "0 1 2")
#   --threads T        CPU threads (default 1)
#   --ci N             bootstrap resamples (default 1000); 0: no intervals
#   --smoke            tiny networks on simulated embeddings, to see that everything runs
#
# Stages: 1 search on development speakers (where --dev-source is given), 2 train and score, 3 tables
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

source= data= exp_dir=exp/normalization dev_source= dev_data= stage=1 stop_stage=3 config=$recipe/conf/systems.yaml
search=$recipe/conf/search.yaml seeds="0 1 2" threads=1 ci=1000 smoke=false
parse_options "source data exp-dir dev-source dev-data stage stop-stage config search seeds threads ci" "$@"
export OMP_NUM_THREADS=$threads
if [[ $smoke == true ]]; then
  source="$exp_dir/seed0 $exp_dir/seed1" data=$exp_dir/data config=$recipe/conf/smoke.yaml seeds=0 ci=50
  once "$data/test/trials" script common.simulate --output "$exp_dir"
fi
[[ -n $source && -n $data ]] || fail "--source DIRS and --data DIR are needed: embeddings and data of another recipe"
[[ -z $dev_source || -n $dev_data ]] || fail "--dev-source DIR needs --dev-data DIR"

# score OUTPUT SOURCE DATA SET CONFIG SEED
score() {
  once "$1" script normalization.systems --output "$1" --source "$2" --data "$3" --eval-set "$4" --systems "$5" \
    --seed "$6"
}

# table OUTPUT DATA SET CI TITLE RUN ...
table() {
  script normalization.table --output "$1" --trials "$2/$3/trials" --utt2spk "$2/$3/utt2spk" --ci "$4" --title "$5" --runs "${@:6}"
}

if [[ -n $dev_source ]] && stage 1 "search on development speakers"; then
  runs=()
  for seed in $seeds; do
    runs+=("$exp_dir/search/seed$seed.npz")
    score "${runs[-1]}" "$dev_source" "$dev_data" dev "$search" "$seed"
  done
  table "$exp_dir/search" "$dev_data" dev 0 "Search on development speakers" "${runs[@]}"
fi
runs=()
number=0
for folder in $source; do
  for seed in $seeds; do
    runs+=("$exp_dir/runs/extractor${number}_seed$seed.npz")
  done
  number=$((number + 1))
done
if stage 2 "train normalisers, and score"; then
  number=0
  for folder in $source; do
    for seed in $seeds; do
      score "${runs[number]}" "$folder" "$data" test "$config" "$seed"
      number=$((number + 1))
    done
  done
fi
if stage 3 "tables"; then
  table "$exp_dir" "$data" test "$ci" "Normalisation of embeddings" "${runs[@]}"
fi
