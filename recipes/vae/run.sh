#!/usr/bin/env bash
# VAEs of binary digits with any gradient estimator, from files to table and pictures.
#
#   recipes/vae/run.sh [--exp-dir exp/vae] [--config FILE] [--estimators "reinforce rloo-4"]
#       [--seeds "0 1 2"] [--data FILE] [--stage N] [--stop-stage M] [--smoke]
#
#   --exp-dir DIR     results; a second run reuses what is done there
#   --config FILE     conf/digits.yaml (default), gaussian, categorical, mnist or mnist_categorical
#   --estimators "A B"  names, with or without their number of samples (default: the config's)
#   --seeds "0 1 2"   of the trainings (default 0 1 2)
#   --data FILE       "digits", or MNIST's .npz (python data_prep/mnist.py download --output DIR)
#   --steps N         training steps (default: the config's)
#   --stage N         first stage, 1 to 4 (default 1); --stop-stage M the last (default 4)
#   --threads T       CPU threads (default 1)
#   --smoke           a few steps, to see that everything runs
#
# Stages: 1 train, 2 table and pictures, 3 the estimators of anchor.json beside its figures,
# 4 signal-to-noise ratio of IWAE's and DReG's gradients over the samples
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

exp_dir=exp/vae stage=1 stop_stage=4 config=$recipe/conf/digits.yaml estimators= seeds=
data= steps= threads=1 smoke=false
parse_options "exp-dir stage stop-stage config estimators seeds data steps threads" "$@"
[[ -f $config ]] || fail "no config $config"

if [[ -z $seeds ]]; then
  [[ $smoke == true ]] && seeds="0 1" || seeds="0 1 2"
fi
read -ra seed_words <<< "$seeds"
flags=(--seeds "${seed_words[@]}" --threads "$threads")
snr_flags=(--steps 300 --replicas 200)
if [[ $smoke == true ]]; then
  flags+=(--steps 20 --log-every 10 --measure-every 10 --replicas 3 --bound-samples 20)
  snr_flags=(--replicas 3)
fi
train_flags=()
[[ -z $data ]] || train_flags+=(--data "$data")
[[ -z $steps ]] || train_flags+=(--steps "$steps")
if [[ -n $estimators ]]; then
  read -ra names <<< "$estimators"
  train_flags+=(--estimator "${names[@]}")
fi

# part NAME CONFIG FOLDER flags ...: run a script of the recipe.
part() {
  script "vae.$1" --config "$2" "${flags[@]}" --exp-dir "$3" "${@:4}"
}

if stage 1 "train"; then
  part fit "$config" "$exp_dir" "${train_flags[@]}"
fi
if stage 2 "table and pictures"; then
  part report "$config" "$exp_dir" "${train_flags[@]}"
fi
if stage 3 "the order of the estimators, beside the reference's"; then
  part fit "$recipe/conf/anchor.yaml" "$exp_dir/anchor"
  part report "$recipe/conf/anchor.yaml" "$exp_dir/anchor" --reference "$recipe/anchor.json"
fi
if stage 4 "signal-to-noise ratio over the samples"; then
  part snr "$recipe/conf/gaussian.yaml" "$exp_dir/snr" "${snr_flags[@]}"
fi
