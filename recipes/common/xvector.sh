# Sourced by speaker recipes: stages 3 to 8, from data directories to the tables.
# shellcheck shell=bash
# Reads the variables train_data exp_dir config presets seed control num_samples lda_dim shrinkage ci title,
# and what a recipe may set after sourcing:
#   sets             names of the data directories to embed; NAME's is in the variable NAME_data
#   plda_data        the part of train_data that the back-end is trained on (default: all)
#   train_flags      an array of more flags for bbb train; extract_flags, one for bbb extract
#   published        file with published figures for the tables
#   for_evaluations  a function, see below
sets="train eval" plda_data= published=
train_flags=() extract_flags=()

# for_evaluations COMMAND ...: run COMMAND for each evaluation with these words at its end:
# FOLDER (of scores and tables), names of the enrolment and the test SET, MAP (model to utterances, or ""),
# and one or more lists of TRIALS.
for_evaluations() {
  "$@" . eval eval "" "$eval_data/trials"
}

# preset_file NAME: the YAML of a preset, of this recipe or of all.
preset_file() {
  local folder
  for folder in "$recipe/conf" "$root/recipes/common/conf"; do
    if [[ -f $folder/$1.yaml ]]; then
      echo "$folder/$1.yaml"
      return
    fi
  done
  fail "no preset $1.yaml in $recipe/conf or in $folder"
}

# check_presets: before anything is made.
check_presets() {
  local preset
  for preset in $presets; do
    preset_file "$preset" > /dev/null
  done
}

# smoke_sizes: a few steps of a tiny network.
smoke_sizes() {
  train_flags+=(--max_steps 6 --keep_steps "[3]" --network.channels 16 --network.pooled_channels 32
    --network.embed_dim 16 --chunks.batch_size 4 --workers 0)
  ci=50
}

# validate_once DIR: check a data directory; one that was sound is not read again.
validate_once() {
  once "$1/.valid" bbb data validate "$1"
  touch "$1/.valid"
}

# train_system NAME SEED [flags]: the extractor exp_dir/NAME; bbb train leaves a finished one alone.
train_system() {
  local name=$1 system_seed=$2
  shift 2
  bbb train --config "$config" "$@" "${train_flags[@]}" --data "$train_data" \
    --output "$exp_dir/$name" --seed "$system_seed"
}

# extract_system NAME SAMPLES: embeddings of the data directories, of SAMPLES weight draws each.
extract_system() {
  local set data output
  for set in $sets; do
    data=${set}_data
    data=${!data}
    [[ $set != train ]] || data=${plda_data:-$data}
    output=$exp_dir/$1/${set}_$2.npz
    once "$output" bbb extract --model "$exp_dir/$1/best.ckpt" --data "$data" \
      --output "$output" --num-samples "$2" "${extract_flags[@]}"
  done
}

# score_system NAME SAMPLES: cosine and PLDA scores of the trial lists. Quick, so never reused: the
# back-end's options may have changed.
score_system() {
  bbb plda --embeddings "$exp_dir/$1/train_$2.npz" --utt2spk "${plda_data:-$train_data}/utt2spk" \
    --lda-dim "$lda_dim" --shrinkage "$shrinkage" --output "$exp_dir/$1/plda.npz"
  for_evaluations score_evaluation "$exp_dir/$1" "$2"
}

# score_evaluation SYSTEM SAMPLES FOLDER ENROLL TEST MAP TRIALS ...: scores of every trial that is in
# one of the lists.
score_evaluation() {
  local system=$1 samples=$2 output=$1/$3 trials=$7
  mkdir -p "$output"
  if (($# > 7)); then
    trials=$output/trials
    LC_ALL=C sort -u -k1,2 "${@:7}" > "$trials"
  fi
  local sides=(--trials "$trials" --enroll "$system/$4_$samples.npz" --test "$system/$5_$samples.npz")
  [[ -z $6 ]] || sides+=(--enroll-map "$6")
  bbb score --backend cosine "${sides[@]}" --mean-from "$system/train_$samples.npz" \
    --output "$output/cosine.scores"
  bbb score --backend plda "${sides[@]}" --plda "$system/plda.npz" --output "$output/plda.scores"
}

# fuse_systems NAME A B: scores of the fusion exp_dir/NAME of two systems, folders with scores.
fuse_systems() {
  for_evaluations fuse_evaluation "$exp_dir/$1" "$2" "$3"
}

# fuse_evaluation FUSION A B FOLDER ...
fuse_evaluation() {
  local backend
  mkdir -p "$1/$4"
  for backend in cosine plda; do
    bbb fuse "$2/$4/$backend.scores" "$3/$4/$backend.scores" --output "$1/$4/$backend.scores"
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
  train_system "bayesian_$1" "$seed" --config "$(preset_file "$1")" --bayes.baseline "$exp_dir/baseline"
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

# table FOLDER ENROLL TEST MAP TRIALS ...: a row per system; with one preset its rows are "bayesian" and
# "fusion".
table() {
  local rows=("baseline=baseline") preset suffix= enroll=$2_data test=$3_data more=()
  for preset in $presets; do
    [[ $presets == "$preset" ]] || suffix=" ($preset)"
    rows+=("bayesian$suffix=bayesian_$preset" "fusion$suffix=fusion_$preset")
  done
  [[ $control == false ]] || rows+=("fusion of two baselines=fusion_control")
  [[ -z $4 ]] || more+=(--enroll-map "$4")
  [[ -z $published ]] || more+=(--published "$published")
  script common.results --exp-dir "$exp_dir" --evaluation "$1" --trials "${@:5}" \
    --utt2spk "${!enroll}/utt2spk" "${!test}/utt2spk" --ci "$ci" --title "$title" \
    --systems "${rows[@]}" "${more[@]}"
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
    for_evaluations table
  fi
}
