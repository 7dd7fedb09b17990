# The Free Spoken Digit Dataset, joined to connected digits; sourced by recipes/digits/run.sh.

check_corpus() {
  only_sets "this corpus" dev eval
  destinations+=(prepare_digits)
}

prepare_data() {
  local more=()
  [[ -z $corpus ]] || more+=(--corpus "$corpus")
  [[ -z $lists ]] || more+=(--lists "$lists")
  run prepare-digits --out "$exp" --seed "$seed" "${more[@]}" "${prepare_digits_opts[@]}"
}

prepare_lang() {
  run lang --data "$exp/data/train" --lexicon "$root/local/digits/lexicon.txt" --out "$exp/lang"
}
