# LibriSpeech (OpenSLR 12) and mini LibriSpeech (OpenSLR 31): read books, 16 kHz; sourced by recipes/librispeech/run.sh.
# Its sets have the names of the parts with _ for -, as Kaldi has them. Lexicon and language models are OpenSLR 11.

check_corpus() {
  [[ -n $corpus ]] || die "--corpus is needed: the folder that has LibriSpeech/dev-clean and the other parts in it"
  case $size in
    mini) parts=(train-clean-5) ;;
    100) parts=(train-clean-100) ;;
    460) parts=(train-clean-100 train-clean-360) ;;
    960) parts=(train-clean-100 train-clean-360 train-other-500) ;;
    *) die "--size must be mini, 100, 460 or 960, not '$size'" ;;
  esac
  if ! was_given sets; then  # clean sets have other weights than the others; dev_clean_2 is all that mini LibriSpeech has
    sets="dev_clean dev_other test_clean:dev_clean test_other:dev_other"
    [[ $size != mini ]] || sets=dev_clean_2
  fi
  : "${lexicon:=$corpus/librispeech-lexicon.txt}"
  destinations+=(import_kaldi)
}

prepare_data() {
  local set part words
  for set in train $(set_names); do
    words=()
    for part in $(of_set "$set"); do words+=(--part "$part"); done
    run_local librispeech/librispeech_data.py --corpus "$corpus" "${words[@]}" --out "$exp/corpus/$set"
  done
  import_sets kaldi "$exp/corpus"
}

of_set() { [[ $1 == train ]] && echo "${parts[@]}" || echo "${1//_/-}"; }  # of_set NAME : the parts that it is made of

prepare_lang() {
  local from=$lexicon
  if [[ $stress == false ]]; then
    from=$exp/corpus/lexicon.txt
    run_local librispeech/librispeech_lexicon.py --lexicon "$lexicon" --out "$from"
  fi
  run lang --data "$exp/data/train" --lexicon "$from" --out "$exp/lang"
}

score_opts=(--lmwt-range 7:17)  # Kaldi's egs/librispeech/s5/local/score.sh
