# Sourced by speaker recipes: stages 3 to 8, from data directories to the table.
# shellcheck shell=bash
# Reads the variables train_data eval_data exp_dir conf config presets seed control num_samples
# lda_dim shrinkage ci title, and the array train_flags of more flags for bbb train.

# train_system NAME SEED [flags]: the extractor exp_dir/NAME; bbb train leaves a finished one alone.
train_system() {
  local name=$1 system_seed=$2
  shift 2
  bbb train --config "$config" "$@" "${train_flags[@]}" --data "$train_data" \
    --output "$exp_dir/$name" --seed "$system_seed"
}

# extract_system NAME SAMPLES: embeddings of both data directories, of SAMPLES weight draws each.
extract_system() {
  local set data output
  for set in train eval; do
    data=${set}_data
    output=$exp_dir/$1/${set}_$2.npz
    once "$output" bbb extract --model "$exp_dir/$1/best.ckpt" --data "${!data}" \
      --output "$output" --num-samples "$2"
  done
}

# score_system NAME SAMPLES: cosine and PLDA scores of the trial list. Quick, so never reused: the
# back-end's options may have changed.
score_system() {
  local x=$exp_dir/$1 train=$exp_dir/$1/train_$2.npz eval=$exp_dir/$1/eval_$2.npz
  local sides=(--trials "$eval_data/trials" --enroll "$eval" --test "$eval")
  bbb plda --embeddings "$train" --utt2spk "$train_data/utt2spk" --lda-dim "$lda_dim" \
    --shrinkage "$shrinkage" --output "$x/plda.npz"
  bbb score --backend cosine "${sides[@]}" --mean-from "$train" --output "$x/cosine.scores"
  bbb score --backend plda "${sides[@]}" --plda "$x/plda.npz" --output "$x/plda.scores"
}

# fuse_systems NAME A B: scores of the fusion exp_dir/NAME of two systems, folders with scores.
fuse_systems() {
  local backend
  mkdir -p "$exp_dir/$1"
  for backend in cosine plda; do
    bbb fuse "$2/$backend.scores" "$3/$backend.scores" --output "$exp_dir/$1/$backend.scores"
  done
}

# with_control COMMAND ...: only where a second plain system is wanted.
with_control() {
  [[ $control == false ]] || "$@"
}

# for_presets COMMAND ...: run COMMAND with each preset's name at its end.
for_presets() {
  local preset
  for preset in $presets; do
    "$@" "$preset"
  done
}

train_preset() {
  train_system "bayesian_$1" "$seed" --config "$conf/$1.yaml" --bayes.baseline "$exp_dir/baseline"
}

extract_preset() {
  extract_system "bayesian_$1" "$num_samples"
}

score_preset() {
  score_system "bayesian_$1" "$num_samples"
}

fuse_preset() {
  fuse_systems "fusion_$1" "$exp_dir/baseline" "$exp_dir/bayesian_$1"
}

# table: a row per system; with one preset its rows are "bayesian" and "fusion".
table() {
  local rows=("baseline=baseline") preset suffix=
  for preset in $presets; do
    [[ $presets == "$preset" ]] || suffix=" ($preset)"
    rows+=("bayesian$suffix=bayesian_$preset" "fusion$suffix=fusion_$preset")
  done
  [[ $control == false ]] || rows+=("fusion of two baselines=fusion_control")
  script common.results --exp-dir "$exp_dir" \
    --trials "$eval_data/trials" --utt2spk "$eval_data/utt2spk" --ci "$ci" \
    --title "$title" --systems "${rows[@]}"
}

xvector_stages() {
  if stage 3 "train the plain x-vector"; then
    train_system baseline "$seed"
    with_control train_system control $((seed + 100))
  fi
  if stage 4 "train the Bayesian x-vector"; then
    for_presets train_preset
  fi
  if stage 5 "extract embeddings"; then
    extract_system baseline 0
    with_control extract_system control 0
    for_presets extract_preset
  fi
  if stage 6 "score with cosine and PLDA"; then
    score_system baseline 0
    with_control score_system control 0
    for_presets score_preset
  fi
  if stage 7 "fuse"; then
    for_presets fuse_preset
    with_control fuse_systems fusion_control "$exp_dir/baseline" "$exp_dir/control"
  fi
  if stage 8 "table"; then
    table
  fi
}
