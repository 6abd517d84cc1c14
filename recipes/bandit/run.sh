#!/usr/bin/env bash
# Eating mushrooms: Thompson sampling from a Bayesian network against epsilon-greedy networks.
#
#   recipes/bandit/run.sh --data corpora/agaricus-lepiota.data [--exp-dir exp/bandit]
#       [--config FILE] [--seeds "0 1 2 3 4"] [--steps N] [--stage N] [--stop-stage M] [--smoke]
#
#   --data FILE       UCI's mushrooms: python data_prep/mushrooms.py download --output corpora
#   --exp-dir DIR     results; a run that was killed goes on where it was
#   --config FILE     conf/short.yaml (default) or conf/paper.yaml
#   --seeds "0 1 2"   of mushrooms and luck (default: the config's)
#   --steps N         mushrooms to judge (default: the config's)
#   --stage N         first stage, 1 or 2 (default 1); --stop-stage M the last (default 2)
#   --smoke           a few simulated mushrooms, to see that everything runs; needs no --data
#
# Stages: 1 play (the Bayesian and the greedy agents side by side, a thread each),
# 2 table and picture
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

data= exp_dir=exp/bandit config=$recipe/conf/short.yaml seeds= steps= stage=1 stop_stage=2 smoke=false
parse_options "data exp-dir config seeds steps stage stop-stage" "$@"
[[ -f $config ]] || fail "no config $config"
export OMP_NUM_THREADS=1

flags=(--config "$config" --exp-dir "$exp_dir")
if [[ $smoke == true ]]; then
  if [[ -z $data ]]; then
    data=$exp_dir/simulated.data
    once "$data" script bandit.simulate --output "$data"
  fi
  flags+=(--steps 60 --seeds 0 1 --minibatches 2 --save-every 50)
fi
[[ -n $data ]] || fail "--data FILE is needed; python data_prep/mushrooms.py download --output corpora"
flags+=(--data "$data")
if [[ -n $seeds ]]; then
  read -ra seed_words <<< "$seeds"
  flags+=(--seeds "${seed_words[@]}")
fi
[[ -z $steps ]] || flags+=(--steps "$steps")

if stage 1 "play"; then
  script bandit.play "${flags[@]}" --agents greedy &
  greedy=$!
  trap 'kill "$greedy" 2> /dev/null || true' EXIT
  script bandit.play "${flags[@]}" --agents bbb
  wait "$greedy"
fi
if stage 2 "table and picture"; then
  script bandit.regret "${flags[@]}"
fi
