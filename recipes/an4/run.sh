#!/usr/bin/env bash
# CMU's AN4: read speech of 50 minutes, spelled words, names, digits and commands. The training part, some of whose speakers
# are held out as dev, and the official test.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. "$root/local/an4/corpus.sh"

corpus=
corpus_format=cmu
train_set=train
lexicon=
dev_speakers=7
byte_order=
options+=(corpus corpus_format train_set lexicon dev_speakers byte_order)

usage() {
  cat << END
Usage: recipes/an4/run.sh --corpus DIR [options]
 e.g.: recipes/an4/run.sh --corpus /data/an4
       recipes/an4/run.sh --corpus /data/an4_kaldi --corpus-format kaldi --lexicon lexicon.txt
       recipes/an4/run.sh --corpus /data/an4 --stage 6 --workers 4 --dnn dnn4
Stages: 0 corpus, 1 lexicon and language model, 2 features, 3 HMM/GMM and alignment, 4 frame store, 5 RBMs,
        6 DNN, 7 decoding and scoring, 8 algorithms and numbers of workers side by side (not unless asked for).

  --corpus DIR                   AN4 as CMU has it: etc/an4_train.fileids, wav/an4_clstk, ...
  --corpus-format FORMAT         cmu; kaldi: --corpus DIR/{train,dev,eval}; lhotse: manifests of those sets
                                                                                    ($corpus_format)
  --train-set NAME               its name there                                     ($train_set)
  --lexicon FILE                 (cmu: CORPUS/etc/an4.dic; kaldi and lhotse: CORPUS/lexicon.txt)
  --dev-speakers N               of the training part, held out as dev (cmu)        ($dev_speakers)
  --byte-order big|little        of audio without a header, .raw (cmu)
END
  usage_of_all
}
sets="dev test"
parse_options "$@"

case $corpus_format in
  cmu) check_corpus ;;
  kaldi | lhotse)
    [[ -n $corpus ]] || die "--corpus-format $corpus_format needs --corpus DIR"
    was_given sets || sets="dev eval"
    : "${lexicon:=$corpus/lexicon.txt}"
    destinations+=("import_$corpus_format")
    ;;
  *) die "--corpus-format must be cmu, kaldi or lhotse, not '$corpus_format'" ;;
esac
compare_when_asked

tri_opts=(--leaves 400 --num-gauss 4000)
dnn_opts=(--epochs 4)
rates ng-sgd relu-renorm 0.008 0.0003
rates sgd relu 0.001 0.0001

stage_0() {
  if [[ $corpus_format == cmu ]]; then prepare_data; else import_sets "$corpus_format" "$corpus" "$train_set"; fi
}

stage_1() {
  run lang --data "$exp/data/train" --lexicon "$lexicon" --out "$exp/lang"
  language_model --order 3
}

run_stages
