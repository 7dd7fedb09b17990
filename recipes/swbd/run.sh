#!/usr/bin/env bash
# Switchboard-1 for training, eval2000 for testing: from the LDC's discs, or from a synthetic corpus in the same layout.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. "$root/local/swbd/corpus.sh"

# the discs; all four or none (then the corpus is synthetic)
audio=
transcripts=
eval_audio=
eval_transcripts=
dictionary=
# or anybody's data: a folder of Kaldi data directories train, dev and eval, and a lexicon
corpus=
corpus_format=ldc
train_set=train
lexicon=
options+=(audio transcripts eval_audio eval_transcripts dictionary corpus corpus_format train_set lexicon)

usage() {
  cat << END
Usage: recipes/swbd/run.sh [options]
 e.g.: recipes/swbd/run.sh                                  # on a synthetic corpus, written first
       recipes/swbd/run.sh --hours 5 --exp exp/swbd5 --tri-leaves 1500 --tri-num-gauss 20000
       recipes/swbd/run.sh --audio /ldc/LDC97S62 --transcripts /ldc/swb_ms98_transcriptions \\
         --eval-audio /ldc/LDC2002S09 --eval-transcripts /ldc/LDC2002T43 --config recipes/swbd/conf/full.yaml
       recipes/swbd/run.sh --corpus-format kaldi --corpus mydata --lexicon mylexicon.txt --exp exp/mine
       recipes/swbd/run.sh --stage 7 --stop-stage 7         # decode and score again
Stages: 0 corpus, 1 lexicon and language model, 2 features, 3 HMM/GMM and alignment, 4 frame store, 5 RBMs,
        6 DNN, 7 decoding and scoring, 8 algorithms and numbers of workers side by side (not unless asked for with a
        corpus of your own, because it trains ten networks more).

  --audio, --transcripts, --eval-audio, --eval-transcripts DIR
                                 LDC97S62, MS-State transcripts, LDC2002S09, LDC2002T43
  --dictionary FILE              MS-State dictionary        (TRANSCRIPTS/sw-ms98-dict.text)
  --hours, --eval-hours H        size of the synthetic corpus: asr-parallel synthesize --help
  --corpus-format FORMAT         ldc; kaldi: --corpus DIR/{train,dev,eval}; lhotse: manifests of those sets in --corpus DIR:
                                 asr-parallel import-lhotse --help                  ($corpus_format)
  --corpus DIR, --lexicon FILE   with --corpus-format kaldi and lhotse
  --train-set NAME               likewise; its name there                           ($train_set)
  --sampling-rate HZ             likewise; of the recordings to keep: asr-parallel import-kaldi --help
END
  usage_of_all
}
parse_options "$@"

discs=("$audio" "$transcripts" "$eval_audio" "$eval_transcripts")
synthetic=
case $corpus_format in
  ldc) check_corpus ;;
  kaldi | lhotse)
    [[ -n $corpus && -n $lexicon ]] || die "--corpus-format $corpus_format needs --corpus DIR and --lexicon FILE"
    [[ -z $(printf %s "${discs[@]}") ]] || die "--audio and the other discs go with --corpus-format ldc"
    destinations+=("import_$corpus_format")
    ;;
  *) die "--corpus-format must be ldc, kaldi or lhotse, not '$corpus_format'" ;;
esac
[[ -n $synthetic ]] || compare_when_asked

[[ -z $synthetic ]] || tri_opts=(--leaves 800 --num-gauss 8000)  # chosen on that corpus; of others by hours and speakers
dnn_opts=(--epochs 4)
rbm_opts=(--epochs 3)
rates ng-sgd relu-renorm 0.008 0.0003
rates sgd relu 0.001 0.0001
rates ng-sgd sigmoid 0.032 0.0032
rates sgd sigmoid 0.008 0.0008 none
rates sgd sigmoid 0.016 0.0016 rbm

stage_0() {
  if [[ $corpus_format == ldc ]]; then prepare_data; else import_sets "$corpus_format" "$corpus" "$train_set"; fi
}

stage_1() {
  if [[ $corpus_format == ldc ]]; then
    prepare_lang
  else
    run lang --data "$exp/data/train" --lexicon "$lexicon" --out "$exp/lang"
  fi
  language_model --order 3
}

run_stages
