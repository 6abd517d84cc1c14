# Sourced by every run.sh: options, stages, and steps that are skipped when they are done.
# shellcheck shell=bash
set -euo pipefail
# Threads that wait by spinning cost many times the CPU of small matrices on a busy machine.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
python=${PYTHON:-python}
# Scripts are modules of this repository: recipes.vae.fit.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

fail() {
  echo "$(basename "$recipe"): $*" >&2
  exit 1
}

# parse_options "name name ..." "$@": sets a variable for each --name VALUE; --smoke sets smoke=true.
parse_options() {
  local known=" $1 " name
  shift
  while (($#)); do
    name=${1#--}
    case $1 in
      -h | --help)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
      --smoke)
        smoke=true
        shift
        ;;
      --*)
        [[ $known == *" $name "* ]] || fail "unknown option --$name; there are${known// / --}smoke and --help"
        (($# > 1)) || fail "option --$name needs a value"
        printf -v "${name//-/_}" '%s' "$2"
        shift 2
        ;;
      *) fail "unexpected word '$1'; options look like --stage 3" ;;
    esac
  done
  local first=${stage:-1} last=${stop_stage:-${stage:-1}}
  [[ $first =~ ^[1-9][0-9]*$ && $last =~ ^[1-9][0-9]*$ ]] || fail "stages are numbers from 1 on, got '$first' to '$last'"
  ((first <= last)) || fail "no stage is from $first to $last"
  command -v bbb > /dev/null || fail "the command bbb is not installed; run 'make' and activate .venv"
}

# script MODULE words ...: run a script of the recipes, such as common.results.
script() {
  "$python" -m "recipes.$1" "${@:2}"
}

# stage N "title": whether stage N is asked for; says so when it is.
stage() {
  ((stage <= $1 && $1 <= stop_stage)) || return 1
  printf '\n== Stage %s: %s\n' "$1" "$2"
}

# prep NAME words ...: run data_prep/NAME.py.
prep() {
  "$python" "$root/data_prep/$1.py" "${@:2}"
}

# once FILE command ...: run the command, unless FILE is there; commands write FILE in one step.
once() {
  local file=$1
  shift
  if [[ -e $file ]]; then
    echo "done already: $file"
    return
  fi
  "$@"
}
