#!/usr/bin/env bash
# The paper's MNIST nets, from files to tables and pictures: plain, dropout, Bayes by Backprop.
#
#   recipes/mnist/run.sh [--exp-dir exp/mnist] [--systems "sgd mixture"] [--units "400 1200"]
#       [--seeds "0 1 2"] [--config recipes/mnist/conf/paper] [--parallel 2] [--data FILE] [--smoke]
#
#   --exp-dir DIR     results; a second run reuses what is done there, and goes on where it was killed
#   --config DIR      a YAML file for each system (default conf; conf/paper: 600 epochs of plain SGD)
#   --systems "A B"   of sgd, dropout, gaussian, mixture (default all)
#   --units "A B"     widths of the two hidden layers (default 400)
#   --seeds "0 1 2"   of the trainings (default 0 1 2)
#   --flags "WORDS"   for every training, such as "--epochs 50 --num-valid 0"
#   --tag WORD        at the end of the trainings' names; with other flags take another one
#   --data FILE       MNIST's .npz (default data/mnist.npz, downloaded), or "digits"
#   --fashion FILE    Fashion-MNIST's .npz (default data/fashion_mnist.npz, made from Debian's package
#                     dataset-fashion-mnist where that is installed)
#   --parallel P      trainings at once (default 1); --threads T: CPU threads of each (default 1)
#   --stage N         first stage, 1 to 6 (default 1); --stop-stage M the last (default 6)
#   --smoke           tiny nets on scikit-learn's digits, to see that everything runs
#
# Stages: 1 data, 2 train, 3 table, 4 pictures, 5 pruning, 6 corrupted and foreign images
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

exp_dir=exp/mnist stage=1 stop_stage=6 config=$recipe/conf systems= units=400
seeds= flags= tag= data= fashion= parallel=1 threads=1 smoke=false
parse_options "exp-dir stage stop-stage config systems units seeds flags tag data fashion parallel threads" "$@"
[[ -d $config ]] || fail "no folder $config; --config takes one with a YAML file for each system"
preset=$(basename "$config")
[[ $preset != conf ]] || preset=modern
if [[ -z $systems ]]; then
  [[ $smoke == true ]] && systems="sgd dropout mixture" || systems="sgd dropout gaussian mixture"
fi
for system in $systems; do
  [[ -f $config/$system.yaml ]] || fail "no system '$system'; there are sgd, dropout, gaussian and mixture"
done
few=() fewer=() each=1
if [[ $smoke == true ]]; then
  seeds=${seeds:-0 1} units=64 data=${data:-digits}
  flags="--epochs 20 --num-valid 200 --eval-every 5 --test-samples 5 $flags"
  # One process for all: each has to import torch.
  few=(--num-samples 3) fewer=(--num-images 100) each=1000
fi
seeds=${seeds:-0 1 2}
[[ -z $fashion || -f $fashion ]] || fail "no file $fashion; data_prep/mnist.py makes one"
data=${data:-data/mnist.npz}
[[ $data == digits ]] || fashion=${fashion:-data/fashion_mnist.npz}

# trainings: the words of each training, a line each, quoted for xargs, and a -- behind them.
trainings() {
  for width in $units; do
    for seed in $seeds; do
      for system in $systems; do
        name=$preset-$system-$width${tag:+-$tag}
        # shellcheck disable=SC2086 (words)
        printf ' "%s"' --config "$config/$system.yaml" --data "$data" --units "$width" --threads "$threads" $flags \
          --seed "$seed" --folder "$exp_dir/$name/seed$seed"
        echo ' --'
      done
    done
  done
}

if stage 1 "data"; then
  if [[ $data != digits && ! -f $data ]]; then
    [[ $data == data/mnist.npz ]] || fail "no file $data; 'python data_prep/mnist.py download --output DIR' makes one"
    "$python" "$root/data_prep/mnist.py" download --output data
  fi
  debian=/usr/share/datasets/fashion-mnist
  if [[ -n $fashion && ! -f $fashion && -d $debian ]]; then
    "$python" "$root/data_prep/mnist.py" prepare --source "$debian" --output "$fashion"
  fi
fi
if [[ -n $fashion && ! -f $fashion ]]; then
  ((stop_stage < 6)) || echo "Fashion-MNIST is left out: no $fashion; install Debian's package dataset-fashion-mnist" \
    "and run stage 1, or give --fashion FILE"
  fashion=
fi
if stage 2 "train"; then
  # Several bars on one terminal would write over each other.
  ((parallel == 1)) || export TERM=dumb
  trainings | xargs -P "$parallel" -L "$each" "$python" -m recipes.mnist.train
fi
if stage 3 "table"; then
  script mnist.table --exp-dir "$exp_dir"
fi
if stage 4 "pictures"; then
  script mnist.figures --exp-dir "$exp_dir"
fi
if stage 5 "pruning"; then
  script mnist.prune --exp-dir "$exp_dir" --threads "$threads" "${few[@]}"
fi
if stage 6 "corrupted and foreign images"; then
  script mnist.ood --exp-dir "$exp_dir" --threads "$threads" ${fashion:+--fashion "$fashion"} \
    "${few[@]}" "${fewer[@]}"
fi
