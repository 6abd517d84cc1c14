#!/usr/bin/env bash
# Regression with Bayes by Backprop: the paper's curve, a gap in the data, small data sets.
#
#   recipes/regression/run.sh [--exp-dir exp/regression] [--sets "diabetes wine"] [--splits N]
#       [--seeds "0 1 2 3 4"] [--config FILE] [--stage N] [--stop-stage M] [--smoke]
#
#   --exp-dir DIR     results; a second run reuses what is done there
#   --sets "A B"      of stage 3 (default: the config's)
#   --splits N        random splits of each set (default 20)
#   --seeds "0 1"     of the curves (default 0 to 4)
#   --config FILE     YAML of stage 3 (default conf/sets.yaml)
#   --stage N         first stage, 1 to 4 (default 1); --stop-stage M the last (default 4)
#   --threads T       CPU threads (default 1)
#   --smoke           a few steps, to see that everything runs
#
# Stages: 1 the curve of figure 5, 2 the gap, 3 the small sets, 4 tables
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"

exp_dir=exp/regression sets= splits= seeds= stage=1 stop_stage=4 threads=1 smoke=false
config=$recipe/conf/sets.yaml
parse_options "exp-dir sets splits seeds config stage stop-stage threads" "$@"
[[ -f $config ]] || fail "no config $config"

flags=(--exp-dir "$exp_dir" --threads "$threads")
curve_flags=() set_flags=()
if [[ $smoke == true ]]; then
  flags+=(--steps 5 --num-samples 10)
  curve_flags=(--nets 3) set_flags=(--normal normal:1 --penalties 0.3 1)
  sets=${sets:-linnerud} splits=${splits:-2} seeds=${seeds:-0 1}
fi
if [[ -n $seeds ]]; then
  read -ra words <<< "$seeds"
  curve_flags+=(--seeds "${words[@]}")
fi
if [[ -n $sets ]]; then
  read -ra words <<< "$sets"
  set_flags+=(--sets "${words[@]}")
fi
[[ -z $splits ]] || set_flags+=(--splits "$splits")

# part NAME FILE flags ...: run a script of the recipe.
part() {
  script "regression.$1" --config "$2" "${flags[@]}" "${@:3}"
}

if stage 1 "the curve of figure 5"; then
  part curves "$recipe/conf/curve.yaml" "${curve_flags[@]}"
fi
if stage 2 "a gap in the data"; then
  part curves "$recipe/conf/gap.yaml" "${curve_flags[@]}"
fi
if stage 3 "small data sets"; then
  part benchmark "$config" "${set_flags[@]}"
fi
if stage 4 "tables"; then
  part summary "$config" "${set_flags[@]}"
fi
