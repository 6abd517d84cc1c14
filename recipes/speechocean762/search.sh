#!/usr/bin/env bash
# The search behind conf/: variants of the plain and the Bayesian x-vector on 30 held-out training speakers.
#
#   recipes/speechocean762/search.sh --source DIR [--exp-dir exp/so762_search] [--variants "NAME NAME"]
#
#   --variants NAMES  some of the names below (default: all); those that start from a plain one need it
#   --noise-dir DIR   --rir-dir DIR  for noise_rooms_1500
#   --seed S          of the trainings (default 0); --threads T CPU threads (default 1)
#   --lda-dim D       of PLDA (default 150); --shrinkage S of its covariance (default 0)
#
# No evaluation speaker is touched: the variants are trained on the training speakers less 30, and scored on
# those 30. Prints the EER and min-DCF of cosine and PLDA for each.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"
source "$recipe/../common/xvector.sh"

source= exp_dir=exp/so762_search noise_dir= rir_dir= threads=1 seed=0 lda_dim=150 shrinkage=0 smoke=false
config=$recipe/conf/xvector.yaml
variants="plain_1000 noise_rooms_1500 plain_2000 fbank_2000 all_scratch_1000 all_half_2000 li2020_half_2000 all_pretrained_half_2000"
parse_options "source exp-dir variants noise-dir rir-dir threads seed lda-dim shrinkage" "$@"
export OMP_NUM_THREADS=$threads

one_mask=(--spec_augment.time_masks 1 --spec_augment.freq_masks 1)
# All but fbank_2000 were tried with the earlier features.
mfcc=(--config "$recipe/conf/mfcc.yaml")
half=("${mfcc[@]}" --max_steps 2000 --keep_steps "[]" --optim.start 0.5 --bayes.start baseline --bayes.baseline "$exp_dir/plain_2000")
every_frame=(--bayes.layers "[frame*]" --bayes.kl_weight 0.01)

# flags NAME: what a variant changes in conf/xvector.yaml.
flags() {
  case $1 in
    plain_1000) words=("${mfcc[@]}" --max_steps 1000 --keep_steps "[]" "${one_mask[@]}") ;;
    noise_rooms_1500)
      [[ -n $noise_dir && -n $rir_dir ]] || fail "noise_rooms_1500 needs --noise-dir and --rir-dir"
      words=("${mfcc[@]}" --max_steps 1500 --keep_steps "[]" "${one_mask[@]}" --augment.noise_dir "$noise_dir" --augment.noise_prob 0.4
        --augment.rir_dir "$rir_dir" --augment.rir_prob 0.3 --augment.min_snr_db 5 --augment.max_snr_db 25)
      ;;
    plain_2000) words=("${mfcc[@]}" --max_steps 2000 --keep_steps "[1000]") ;;
    fbank_2000) words=(--max_steps 2000) ;;
    all_scratch_1000)
      words=("${mfcc[@]}" --max_steps 1000 --keep_steps "[]" "${one_mask[@]}" "${every_frame[@]}" --bayes.sigma_init 0.01)
      ;;
    all_half_2000)
      words=("${half[@]}" "${every_frame[@]}" --bayes.prior_sigma 0.05 --bayes.sigma_init 0.01)
      ;;
    li2020_half_2000) words=(--config "$(preset_file li2020)" "${half[@]}") ;;
    all_pretrained_half_2000)
      words=("${half[@]}" "${every_frame[@]}" --bayes.prior pretrained --bayes.prior_sigma 0.05
        --bayes.sigma_init 0.02)
      ;;
    *) fail "no variant $1; there are $variants" ;;
  esac
}

data=$exp_dir/data
train_data=$data/train
eval_data=$data/dev
train_flags=(--threads "$threads")
[[ -n $source || -e $eval_data/trials ]] || fail "--source DIR is needed: the corpus's folder"
once "$eval_data/trials" prep speechocean762 prepare \
  --source "$source" --output "$data" --dev-speakers 30
rows=()
for variant in $variants; do
  flags "$variant"
  train_system "$variant" "$seed" "${words[@]}"
  extract_system "$variant" 0
  score_system "$variant" 0
  rows+=("$variant=$variant")
done
script common.results --exp-dir "$exp_dir" --trials "$eval_data/trials" \
  --utt2spk "$eval_data/utt2spk" --title "Search on 30 training speakers" --systems "${rows[@]}"
