# Switchboard-1 (LDC97S62 with the MS-State transcripts) and eval2000 (LDC2002S09, LDC2002T43), or a synthetic corpus in
# the same layout; sourced by recipes/swbd/run.sh. eval2000 brings an stm and a glm, so that it is scored by the Hub-5 rules.

check_corpus() {  # the discs: all four or none
  local disc
  ! was_given train_set || die "--train-set goes with --corpus-format kaldi and lhotse"
  only_sets "--corpus-format ldc" dev eval
  [[ -z $corpus ]] || die "--corpus goes with --corpus-format kaldi; the discs are named by --audio, --transcripts, ..."
  if [[ -n $(printf %s "${discs[@]}") ]]; then
    for disc in "${discs[@]}"; do
      [[ -n $disc ]] || die "--audio, --transcripts, --eval-audio and --eval-transcripts go together"
    done
  else
    synthetic=$exp/corpus
    audio=$synthetic/LDC97S62
    transcripts=$synthetic/swb_ms98_transcriptions
    eval_audio=$synthetic/LDC2002S09
    eval_transcripts=$synthetic/LDC2002T43
    destinations+=(synthesize)
  fi
  destinations+=(prepare_swbd)
}

prepare_data() {
  [[ -z $synthetic ]] || run synthesize --out "$synthetic" --seed "$seed" --jobs "$jobs" "${synthesize_opts[@]}"
  run prepare-swbd --audio "$audio" --transcripts "$transcripts" --eval-audio "$eval_audio" \
    --eval-transcripts "$eval_transcripts" --out "$exp/data" "${prepare_swbd_opts[@]}"
}

prepare_lang() {
  run lang --data "$exp/data/train" --dictionary "${dictionary:-$transcripts/sw-ms98-dict.text}" --out "$exp/lang"
}
