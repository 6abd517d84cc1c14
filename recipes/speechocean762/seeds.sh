#!/usr/bin/env bash
# Several seeds of run.sh, and whether the differences between its systems are more than luck.
#
#   recipes/speechocean762/seeds.sh --source DIR [--exp-dir exp/so762] [--seeds "0 1 2"]
#       [--presets "best li2020"] [--jobs 2] [--threads 1]
#
#   --config FILE     YAML of the plain x-vector (default conf/xvector.yaml)
#   --jobs J          seeds that run at the same time, each with --threads T CPU threads
#
# Makes EXP_DIR/seed0, seed1 ... (see run.sh), the fusion of each seed's plain x-vector with that of the
# next seed (what two plain systems give), and EXP_DIR/comparison.json and .md.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe/../common/recipe.sh"
source "$recipe/../common/xvector.sh"

source= exp_dir=exp/so762 seeds="0 1 2" presets="best li2020" jobs=2 threads=1 smoke=false config=$recipe/conf/xvector.yaml
parse_options "source exp-dir seeds presets jobs threads config" "$@"

data=$exp_dir/data
run=("$recipe/run.sh" --data-dir "$data" --threads "$threads" --presets "$presets" --config "$config")
[[ $smoke == false ]] || run+=(--smoke)
mkdir -p "$exp_dir"
"${run[@]}" --source "$source" --exp-dir "$exp_dir" --stop-stage 2
export OMP_NUM_THREADS=$threads
for seed in $seeds; do
  while (($(jobs -rp | wc -l) >= jobs)); do
    wait -n
  done
  echo "seed $seed: log in $exp_dir/seed$seed.log"
  "${run[@]}" --exp-dir "$exp_dir/seed$seed" --seed "$seed" --stage 3 > "$exp_dir/seed$seed.log" 2>&1 &
done
for job in $(jobs -p); do
  wait "$job" || fail "a seed failed; see the logs in $exp_dir"
done

all=($seeds)
dirs=() pairs=()
all_dir=$exp_dir
for i in "${!all[@]}"; do
  exp_dir=$all_dir/seed${all[i]}
  fuse_systems fusion_seeds "$exp_dir/baseline" "$all_dir/seed${all[(i + 1) % ${#all[@]}]}/baseline"
  dirs+=("$exp_dir")
done
for preset in $presets; do
  pairs+=("baseline:bayesian_$preset" "baseline:fusion_$preset" "fusion_seeds:fusion_$preset")
done
script common.compare --exp-dirs "${dirs[@]}" \
  --trials "$data/test/trials" --utt2spk "$data/test/utt2spk" \
  --pairs "${pairs[@]}" baseline:fusion_seeds --output "$all_dir/comparison.json"
