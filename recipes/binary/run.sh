#!/usr/bin/env bash
# Binary speaker embeddings: error rate against bits, by gradient estimator (Wang et al. 2023)
#
#   recipes/binary/run.sh --source "DIR DIR ..." --data DIR [--exp-dir exp/binary]
#       [--dev-source DIR --dev-data DIR] [--stage N] [--stop-stage M] [--config FILE] [--seed S] [--smoke]
#
#   --source DIRS      folders of extractors with train_0.npz and eval_0.npz, as other recipes make them
#   --data DIR         their data: train/utt2spk, test/utt2spk and test/trials
#   --exp-dir DIR      results; a second run reuses the codes that are done there
#   --dev-source DIR   an extractor that was trained without the speakers of --dev-data DIR/dev
#   --dev-data DIR     train/utt2spk, dev/utt2spk and dev/trials
#   --stage N          first stage, 1 to 3 (default 1); --stop-stage M the last (default 3)
#   --config FILE      YAML of the systems (default conf/systems.yaml)
#   --search FILE      YAML of the systems of stage 1 (default conf/search.yaml)
#   --seed S           of the first extractor's codes; the next one has S + 1 (default 0)
#   --threads T        CPU threads (default 1)
#   --ci N             bootstrap resamples (default 1000); 0: no intervals
#   --smoke            short codes of simulated embeddings, to see that everything runs
#
# Stages: 1 search on development speakers (where --dev-source is given), 2 train and code, 3 tables
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

source= data= exp_dir=exp/binary dev_source= dev_data= stage=1 stop_stage=3 config=$recipe/conf/systems.yaml
search=$recipe/conf/search.yaml seed=0 threads=1 ci=1000 smoke=false
parse_options "source data exp-dir dev-source dev-data stage stop-stage config search seed threads ci" "$@"
export OMP_NUM_THREADS=$threads
if [[ $smoke == true ]]; then
  source="$exp_dir/seed0 $exp_dir/seed1" data=$exp_dir/data config=$recipe/conf/smoke.yaml ci=50
  once "$data/test/trials" script common.simulate --output "$exp_dir"
fi
[[ -n $source && -n $data ]] || fail "--source DIRS and --data DIR are needed: embeddings and data of another recipe"
[[ -z $dev_source || -n $dev_data ]] || fail "--dev-source DIR needs --dev-data DIR"

# code OUTPUT SOURCE DATA CONFIG SEED
code() {
  once "$1" script binary.codes --output "$1" --source "$2" --data "$3" --systems "$4" --seed "$5"
}

# table OUTPUT DATA SET CONFIG CI TITLE RUN ...
table() {
  script binary.table --output "$1" --trials "$2/$3/trials" --utt2spk "$2/$3/utt2spk" --systems "$4" --ci "$5" --title "$6" --runs "${@:7}"
}

if [[ -n $dev_source ]] && stage 1 "search on development speakers"; then
  code "$exp_dir/search/codes.npz" "$dev_source" "$dev_data" "$search" "$seed"
  table "$exp_dir/search" "$dev_data" dev "$search" 0 "Search on development speakers" "$exp_dir/search/codes.npz"
fi
folders=($source)
runs=()
for number in "${!folders[@]}"; do
  runs+=("$exp_dir/runs/extractor$number.npz")
done
if stage 2 "train the codes"; then
  for number in "${!folders[@]}"; do
    code "${runs[number]}" "${folders[number]}" "$data" "$config" $((seed + number))
  done
fi
if stage 3 "tables"; then
  table "$exp_dir" "$data" test "$config" "$ci" "Binary speaker embeddings" "${runs[@]}"
fi
