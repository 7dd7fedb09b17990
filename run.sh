#!/usr/bin/env bash
# From nothing to a table of word error rates.
#   ./run.sh                       set up .venv and run recipes/swbd on the synthetic corpus
#   ./run.sh --recipe digits ...   another recipe; every other option is the recipe's (see --help)
#   ./run.sh test [pytest options] set up .venv and run the tests
#   ./run.sh test-torchaudio [DIR [pytest options]]
#                                  set up DIR (.venv-torchaudio), with a torchaudio and the torch that it was built with
#                                  (several GB), and run the tests of features there
set -euo pipefail
torchaudio=2.9.1  # the torch of constraints.txt is newer than the last torchaudio that names its torch
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { echo "run.sh: error: $*" >&2; exit 1; }

set_up() {  # set_up EXTRAS [VENV CONSTRAINTS] : pinned versions, installed again only when what they are made from changed
  local extras=$1 venv=${2:-$root/.venv} constraints=${3:-$root/constraints.txt} python=${PYTHON:-python3} made_from
  made_from=$(cat "$root/pyproject.toml" "$constraints" | cksum)
  is_set_up() { [[ -x $venv/bin/asr-parallel && $(cat "$venv/installed-$extras" 2>/dev/null) == "$made_from" ]]; }
  is_set_up && return
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "$python is not Python 3.11 or later; name one: PYTHON=/path/to/python3.11 ./run.sh"
  echo "run.sh: setting up $venv (one to three minutes)" >&2
  exec 9< "$root"  # locked until it is closed, so that of several runs (srun -n 4 ./run.sh) one installs
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2> /dev/null || true  # a file system may have no locks
  is_set_up && { exec 9<&-; return; }
  [[ -x $venv/bin/pip ]] || "$python" -m venv "$venv" ||
    die "cannot make a virtual environment; on Debian and Ubuntu the package python3-venv brings what is missing"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$constraints" --editable "$root[$extras]" || die "installation failed"
  echo "$made_from" > "$venv/installed-$extras"
  exec 9<&-
}

if [[ ${1:-} == test ]]; then
  shift
  set_up synth,dev
  cd "$root"
  # A file at a time in each process, of which tests/conftest.py says how many there are
  exec "$root/.venv/bin/python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@"
fi

if [[ ${1:-} == test-torchaudio ]]; then
  venv=${2:-$root/.venv-torchaudio}
  shift $(($# > 1 ? 2 : 1))
  mkdir -p "$venv"
  { grep -v '^torch==' "$root/constraints.txt"; printf '%s\n' {torch,torchaudio}"==$torchaudio"; } > "$venv/constraints.txt"
  set_up dev,torchaudio "$venv" "$venv/constraints.txt"
  venv=$(cd "$venv" && pwd)
  cd "$root"
  exec "$venv/bin/python" -m pytest tests/features/test_extractors.py tests/features/test_compute.py "$@"
fi

recipe=swbd
words=()
while [[ $# -gt 0 ]]; do
  if [[ $1 == --recipe ]]; then
    [[ $# -ge 2 ]] || die "--recipe needs a name"
    recipe=$2
    shift 2
  else
    words+=("$1")
    shift
  fi
done
[[ $recipe =~ ^[a-z0-9_]+$ && -x $root/recipes/$recipe/run.sh ]] ||
  die "no recipe '$recipe'; there are: $(cd "$root/recipes" && printf '%s ' */run.sh | sed 's#/run.sh##g')"
[[ " ${words[*]-} " == *" --help "* ]] || set_up synth
exec "$root/recipes/$recipe/run.sh" ${words[@]+"${words[@]}"}
