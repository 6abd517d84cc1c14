#!/usr/bin/env bash
# The paper's grid over step size, draws and prior, in short trainings, by validation error.
#
#   recipes/mnist/search.sh --data FILE [--exp-dir exp/mnist_search] [--num-trainings 24] [--parallel 2]
#       [--config FILE] [--flags "--epochs 20"] [--lrs "..."] [--samples "..."] [--pis "..."] [--s1 "..."] [--s2 "..."]
#
#   --config FILE     what all have in common (default conf/mixture.yaml)
#   --flags "WORDS"   for every training (default "--epochs 20 --units 400")
#   --num-trainings N so many combinations, drawn from the grid by a fixed seed; 0 (default): all
#   --lrs "..."       step sizes for the mean loss of a batch (default "0.001 0.0003")
#   --samples "..."   draws for a step (default "1 2 5 10"); --pis "..." (default "0.25 0.5 0.75")
#   --s1 "..."        -log sigma1 (default "0 1 2"); --s2 "..." -log sigma2 (default "6 7 8")
#   --parallel P      trainings at once (default 1); each has one thread
#
# The test set is left alone. A second run reuses what is done, and may go on with more combinations.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

exp_dir=exp/mnist_search data= config=$recipe/conf/mixture.yaml num_trainings=0 parallel=1
flags="--epochs 20 --units 400" lrs="0.001 0.0003" samples="1 2 5 10" pis="0.25 0.5 0.75" s1="0 1 2" s2="6 7 8" each=1 smoke=false
parse_options "exp-dir data config flags num-trainings lrs samples pis s1 s2 parallel" "$@"
[[ -f $config ]] || fail "no config $config"
if [[ $smoke == true ]]; then
  data=${data:-digits} flags="--epochs 2 --units 32 --num-valid 200" samples=1 num_trainings=2 each=1000
fi
[[ -n $data ]] || fail "--data FILE is needed: MNIST's .npz"

# combinations: the words of every training, a line each, quoted for xargs, and a -- behind them.
combinations() {
  for lr in $lrs; do for count in $samples; do for pi in $pis; do for a in $s1; do for b in $s2; do
    # shellcheck disable=SC2086 (words)
    printf ' "%s"' --config "$config" --data "$data" $flags --test-samples 0 --lr "$lr" --num-samples "$count" --pi "$pi" \
      --sigma1 "$(sigma "$a")" --sigma2 "$(sigma "$b")" --folder "$exp_dir/lr$lr-samples$count-pi$pi-s$a-s$b/seed0"
    echo ' --'
  done; done; done; done; done
}

# sigma X: e^-X.
sigma() {
  awk -v x="$1" 'BEGIN { printf "%.6g", exp(-x) }'
}

# chosen: so many lines of the grid, in an order that more of them only continue.
chosen() {
  if ((num_trainings)); then
    # shuf stops reading its source of randomness when it has enough.
    shuf --random-source=<(yes bbb 2> /dev/null) | sed -n "1,${num_trainings}p"
  else
    cat
  fi
}

((parallel == 1)) || export TERM=dumb
combinations | chosen | xargs -P "$parallel" -L "$each" "$python" -m recipes.mnist.train
script mnist.search --exp-dir "$exp_dir"
