# What every recipe shares; sourced by recipes/*/run.sh.
#
# What is one corpus's own is in local/: a recipe sources its local/NAME/corpus.sh, whose functions the stages call.
#
# A recipe names its own options in `options` (beside those below), sets its defaults for verbs in arrays NAME_opts, writes
# `usage`, defines stage_0 and stage_1 (its corpus, its lexicon and language model), may redefine a later one, adds the
# verbs of its stage 0 to `destinations`, and ends with
#     parse_options "$@"
#     ...
#     run_stages
#
# An option that the recipe does not know goes to the verb that has it, and all are checked before the first stage
# (asr-parallel sort-options). parse_options.sh has the manners of options.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$(cd "$(dirname "$0")" && pwd)
[[ -d $root/.venv/bin ]] && PATH=$root/.venv/bin:$PATH

log() { printf '%s (%s:%s) %s\n' "$(date +%H:%M:%S)" "$(basename "${BASH_SOURCE[1]}")" "${BASH_LINENO[0]}" "$*" >&2; }
die() { printf '%s: error: %s\n' "${0##*/recipes/}" "$*" >&2; exit 1; }
. "$root/recipes/parse_options.sh"

# Options of every recipe; their meanings are in `usage_of_all`
stage=0
stop_stage=8
exp=$root/exp/$(basename "$recipe_dir")
seed=1
arpa=
architecture=dnn
hidden_layers=3
hidden_dim=512
nonlinearity=
optimizer=ng-sgd
learning_rate=
final_learning_rate=
pretrain=none
rbm=rbm
systems=all
dnn=dnn
model=
compare=
sets="dev eval"
declare -A tuning_set=()  # of each of --sets: the set that chooses its scoring weights
options=(stage stop_stage exp jobs seed sets arpa architecture hidden_layers hidden_dim nonlinearity optimizer learning_rate
  final_learning_rate pretrain rbm systems dnn model compare)

# Words of verbs, by destination: the recipe's own, then the user's
destinations=(lm feats fbank train_fbank mono tri frames rbm dnn decode score compare)
synthesize_opts=() prepare_swbd_opts=() prepare_digits_opts=() import_kaldi_opts=() import_lhotse_opts=()
lm_opts=() feats_opts=() fbank_opts=() train_fbank_opts=() mono_opts=() tri_opts=() frames_opts=() rbm_opts=()
dnn_opts=() decode_opts=() score_opts=() compare_opts=()
augment_opts=(--channel-tilt 0.3 --channel-ripple 0.2 --mask-filters 15)  # of all trainings of networks

usage_of_all() {
  cat << END
  --stage N, --stop-stage N      first and last stage to run                        ($stage, $stop_stage)
  --config FILE                  lines 'option: value', below the command line's
  --exp DIR                      where everything goes                              ($exp)
  --jobs N                       processes                                          ($jobs)
  --seed N                       of the corpus and the DNN                          ($seed)
  --sets "NAME NAME:TUNING ..."  to decode; the scoring weights of a set are chosen on TUNING, else on the first
                                 (${sets:-below})
  --arpa FILE                    language model made elsewhere, ARPA or ARPA.gz
  --architecture dnn|tdnn        tdnn: with --context 13 at least; no --hidden-layers ($architecture)
  --hidden-layers, --hidden-dim N                                                   ($hidden_layers, $hidden_dim)
  --optimizer ng-sgd|sgd|momentum|nesterov|adam                                     ($optimizer)
  --nonlinearity sigmoid|tanh|relu|relu-renorm|pnorm       (relu-renorm; with sgd relu, which SGD trains better)
  --learning-rate, --final-learning-rate X  per frame      (by optimizer: 'rates' in the recipe; else train-dnn's)
  --pretrain none|rbm            rbm: the DNN's layers, sigmoids, begin as RBMs     ($pretrain)
  --rbm NAME, --dnn NAME         folders of RBMs and network, to keep several       ($rbm, $dnn)
  --systems all|dnn              dnn: decode that alone, not the GMMs               ($systems)
  --model DIR                    decode this network or ensemble, as system --dnn   (that of --dnn)
  --compare FILE                 what stage 8 compares         (conf/compare.yaml of the recipe)

Every other option is that of a verb, with a value always, and is checked before the first stage; for example
  --epochs, --workers, --processes, --algorithm, --period, --ema N   asr-parallel train-dnn --help (stages 5 and 6)
  --beam, --max-active N                                   asr-parallel decode --help
  --device auto|cpu|cuda                                   both
  --lmwt-range N:N, --score-units word|char                asr-parallel score --help
  --feature-backend, --dither, --max-bad-share             asr-parallel make-features --help (and verbs of stage 0)
  --context N, --norm-vars true|false                      asr-parallel make-frames --help
  --mono-..., --tri-..., --rbm-..., --fbank-..., --train-fbank-...   with this prefix those of train-mono, train-tri,
                                 pretrain-rbm and of make-features for the DNN: --tri-leaves 4000, --rbm-epochs 1
END
}

default_jobs() {  # nproc, and of a container no more than its quota of cores
  local python=$root/.venv/bin/python cores
  cores=$(nproc 2> /dev/null || getconf _NPROCESSORS_ONLN 2> /dev/null || echo 1)  # macOS has no nproc
  [[ -x $python ]] || python=python3
  "$python" -c 'if True:
    import sys
    sys.path.insert(0, sys.argv[1])
    from asr_parallel.record.environment import cpu_count
    print(min(cpu_count(), int(sys.argv[2])))' "$root" "$cores" 2> /dev/null || echo "$cores"
}

jobs=$(default_jobs)

run() { run_program asr-parallel "$@"; }  # one verb of the package

run_local() { run_program python3 "$root/local/$1" "${@:2}"; }  # run_local PROGRAM WORD ... : of a corpus's own in local/

run_program() {  # a program, logged as it is called; whoever ends the script ends it too, and waits for it
  local parent=$BASHPID verb= told= before status
  log "$*"
  trap 'told+=x; kill -TERM ${verb:+"$verb"} 2> /dev/null || true' INT TERM HUP
  (trap - INT; ASR_PARALLEL_PARENT=$parent exec "$@") &  # where it could ignore Ctrl-C otherwise
  verb=$!
  [[ -z $told ]] || kill -TERM "$verb"
  while :; do
    before=$told
    wait "$verb" && status=0 || status=$?
    [[ $told != "$before" ]] || break  # else a signal has cut the waiting short
  done
  trap - INT TERM HUP
  [[ -z $told ]] || exit $((status ? status : 143))
  return "$status"
}

run_stages() {
  local n
  command -v asr-parallel > /dev/null || die "asr-parallel is not installed; $root/run.sh sets it up"
  network_options
  pass_on "${destinations[@]}"
  for ((n = stage; n <= stop_stage; n++)); do
    if declare -F "stage_$n" > /dev/null; then
      log "stage $n"
      "stage_$n"
    elif ((stage == stop_stage)); then
      log "stage $n: this recipe has none"
    fi
  done
}

pass_on() {  # pass_on DESTINATION ... : give the words of passed_on to NAME_opts of those that take them; check all words and --sets
  local name word words=() lines
  [[ $# -gt 0 || ${#passed_on[@]} -gt 0 ]] || return 0
  for name in "$@"; do
    local -n own=${name}_opts
    words+=(--own "$name=${own[*]}")
  done
  lines=$(asr-parallel sort-options --stages "$stage:$stop_stage" --sets "$sets" "${words[@]}" -- "${passed_on[@]}") || exit 1
  while IFS=$'\t' read -r name word; do
    case $name in
      '') ;;
      sets) tuning_set[${word%%:*}]=${word#*:} ;;
      *) local -n own=${name}_opts; own+=("$word") ;;
    esac
  done <<< "$lines"
}

network_options() {  # what the recipe's options say to train-dnn and pretrain-rbm
  local given=(--hidden-dim "$hidden_dim" --optimizer "$optimizer")
  [[ $systems =~ ^(all|dnn)$ ]] || die "--systems must be all or dnn, not '$systems'"
  [[ -z $arpa || -f $arpa ]] || die "--arpa: no file '$arpa'"
  [[ $pretrain =~ ^(none|rbm)$ ]] || die "--pretrain must be none or rbm, not '$pretrain'"
  [[ ${nonlinearity:-sigmoid} == sigmoid || $pretrain == none ]] ||
    die "--pretrain rbm begins sigmoids, not --nonlinearity $nonlinearity"
  if [[ $architecture == dnn ]]; then given+=(--hidden-layers "$hidden_layers"); else given+=(--architecture "$architecture"); fi
  [[ -z $nonlinearity ]] || given+=(--nonlinearity "$nonlinearity")
  [[ -z $learning_rate ]] || given+=(--learning-rate "$learning_rate")
  [[ -z $final_learning_rate ]] || given+=(--final-learning-rate "$final_learning_rate")
  [[ $pretrain == none ]] || given+=(--pretrain rbm)
  dnn_opts=("${given[@]}" "${augment_opts[@]}" "${dnn_opts[@]}")
  rbm_opts=(--layers "$hidden_layers" --hidden-dim "$hidden_dim" "${rbm_opts[@]}")
}

rates() {  # rates OPTIMIZER NONLINEARITY FIRST LAST [PRETRAIN] : with these, what options of the DNN that were not given are
  [[ $pretrain == none ]] || : "${nonlinearity:=sigmoid}"
  [[ $optimizer == "$1" && ${nonlinearity:-$2} == "$2" && ${5:-$pretrain} == "$pretrain" ]] || return 0
  : "${nonlinearity:=$2}"
  [[ -n $learning_rate ]] || { learning_rate=$3; : "${final_learning_rate:=$4}"; }
}

set_names() { local word; for word in $sets; do echo "${word%%:*}"; done; }  # of --sets

only_sets() {  # only_sets WHAT NAME ... : die where --sets has a set that WHAT has not
  local what=$1 set
  shift
  for set in $(set_names); do
    [[ " $* " == *" $set "* ]] || die "--sets: $what has the sets $(printf '%s, ' "${@:1:$#-1}" | sed 's/, $//') and ${!#}, not '$set'"
  done
}

import_sets() {  # import_sets kaldi|lhotse DIR [TRAIN_SET] : data folders of train and all sets, of Kaldi's or lhotse's
  local set from more
  for set in train $(set_names); do
    more=(--like "$exp/data/train") from=$set
    [[ $set != train ]] || { more=() from=${3:-train}; }
    case $1 in
      kaldi) run import-kaldi --from "$2/$from" --out "$exp/data/$set" "${more[@]}" "${import_kaldi_opts[@]}" ;;
      lhotse)
        run import-lhotse --from "$2" --set "$from" --out "$exp/data/$set" "${more[@]}" "${import_lhotse_opts[@]}"
        ;;
    esac
  done
}

compare_when_asked() {  # many more trainings, nothing to begin on anybody's data without being asked
  if ((stage < 8)) && ! was_given stop_stage && ! was_given compare; then stop_stage=7; fi
}

language_model() {  # language_model OPTION ... : make $exp/lm, of --arpa where given, else of the training text
  local from=(--data "$exp/data/train") eval=() set
  [[ -z $arpa ]] && from+=("$@") || from=(--arpa "$arpa")
  for set in $(set_names); do eval+=(--eval "$exp/data/$set"); done
  run lm "${from[@]}" --lang "$exp/lang" "${eval[@]}" --out "$exp/lm" "${lm_opts[@]}"
}

# Stages 2 to 8 are the same for every recipe

stage_2() {  # features: MFCC for the GMMs, fbank for the DNN
  local set more same
  same=(--jobs "$jobs" "${feats_opts[@]}")
  for set in train $(set_names); do
    run make-features --data "$exp/data/$set" --kind mfcc --out "$exp/feats/mfcc/$set" "${same[@]}"
    more=("${fbank_opts[@]}")
    [[ $set != train ]] || more+=("${train_fbank_opts[@]}")
    run make-features --data "$exp/data/$set" --kind fbank --out "$exp/feats/fbank/$set" "${same[@]}" "${more[@]}"
  done
}

stage_3() {  # monophone GMM, decision tree, triphone GMM, alignment
  run train-mono --data "$exp/data/train" --lang "$exp/lang" --feats "$exp/feats/mfcc/train" --out "$exp/mono" \
    --jobs "$jobs" "${mono_opts[@]}"
  run train-tri --data "$exp/data/train" --lang "$exp/lang" --feats "$exp/feats/mfcc/train" --ali "$exp/mono" \
    --out "$exp/tri" --jobs "$jobs" "${tri_opts[@]}"
}

stage_4() {  # the DNN's frames and their pdf_ids
  run make-frames --feats "$exp/feats/fbank/train" --ali "$exp/tri" --out "$exp/frames" "${frames_opts[@]}"
}

stage_5() {  # RBMs, which the DNN's hidden layers begin as
  [[ $pretrain == rbm ]] || { log "stage 5: nothing to do with --pretrain none"; return 0; }
  run pretrain-rbm --frames "$exp/frames" --out "$exp/$rbm" --seed "$seed" "${rbm_opts[@]}"
}

stage_6() {  # DNN
  local from=()
  [[ $pretrain == none ]] || from=(--rbm "$exp/$rbm")
  run train-dnn --frames "$exp/frames" --out "$exp/$dnn" --seed "$seed" "${from[@]}" "${dnn_opts[@]}"
}

recognize() {  # recognize SYSTEM MODEL GRAPH KIND : decode and score all sets with a model, into $exp/SYSTEM
  local set tuning words
  for set in $(set_names); do
    run decode --graph "$3" --model "$2" --feats "$exp/feats/$4/$set" --out "$exp/$1/decode_$set" --jobs "$jobs" \
      "${decode_opts[@]}"
  done
  for tuning in $(set_names); do
    [[ ${tuning_set[$tuning]} == "$tuning" ]] || continue
    words=(--data-dev "$exp/data/$tuning" --decode-dev "$exp/$1/decode_$tuning")
    for set in $(set_names); do
      [[ $set != "$tuning" && ${tuning_set[$set]} == "$tuning" ]] || continue
      words+=(--data-eval "$exp/data/$set" --decode-eval "$exp/$1/decode_$set")
    done
    run score --lang "$exp/lang" "${words[@]}" "${score_opts[@]}"
  done
}

stage_7() {  # graphs, decoding, scoring
  local system net=${model:-$exp/$dnn}
  for system in $([[ $systems == dnn ]] || echo mono tri); do
    run make-graph --lang "$exp/lang" --lm "$exp/lm" --model "$exp/$system" --out "$exp/$system/graph"
    recognize "$system" "$exp/$system" "$exp/$system/graph" mfcc
  done
  recognize "$dnn" "$net" "$exp/tri/graph" fbank  # the DNN has the triphone system's tree
  # Workers that were kept recognize together too; beside the network, whose folder is not to change
  [[ ! -d $net/ensemble ]] || recognize "${dnn}_ensemble" "$net/ensemble" "$exp/tri/graph" fbank
  run results --exp "$exp"
  echo "The rest is in $exp: results.md, SYSTEM/decode_SET/{best_wer,scoring,lat.1.gz,1best.txt}, every stage's stage.json"
}

stage_8() {  # algorithms and numbers of workers side by side
  run compare --exp "$exp" --matrix "${compare:-$recipe_dir/conf/compare.yaml}" --out "$exp/compare" \
    --sets "$sets" --jobs "$jobs" --train-options="${augment_opts[*]}" --decode-options="${decode_opts[*]}" \
    --score-options="${score_opts[*]}" "${compare_opts[@]}"
}
