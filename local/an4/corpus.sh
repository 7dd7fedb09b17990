# CMU's AN4 ("census"): spelled words, names, digits and commands, read at 16 kHz; sourced by recipes/an4/run.sh.

check_corpus() {
  ! was_given train_set || die "--train-set goes with --corpus-format kaldi and lhotse"
  only_sets "--corpus-format cmu" dev test
  [[ -n $corpus ]] || die "--corpus is needed: the folder an4 of CMU's archive, with etc and wav in it"
  : "${lexicon:=$corpus/etc/an4.dic}"
  destinations+=(import_kaldi)
}

prepare_data() {  # dev: some speakers of the training part, for AN4 has no such set
  local more=(--dev-speakers "$dev_speakers")
  [[ -z $byte_order ]] || more+=(--byte-order "$byte_order")
  run_local an4/an4_data.py --corpus "$corpus" --out "$exp/corpus" "${more[@]}"
  import_sets kaldi "$exp/corpus"
}
