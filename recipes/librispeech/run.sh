#!/usr/bin/env bash
# LibriSpeech: read books; 5 hours (mini LibriSpeech), 100, 460 or 960 to train.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. "$root/local/librispeech/corpus.sh"

sets=  # by size
corpus=
size=mini
lexicon=
stress=false
hidden_dim=1024
options+=(corpus size lexicon stress)

usage() {
  cat << END
Usage: recipes/librispeech/run.sh --corpus DIR [options]
 e.g.: recipes/librispeech/run.sh --corpus /data           # mini LibriSpeech
       recipes/librispeech/run.sh --corpus /data --size 100 --lexicon librispeech-lexicon.txt \\
         --arpa 3-gram.pruned.3e-7.arpa.gz --exp exp/librispeech100
       recipes/librispeech/run.sh --corpus /data --size 960 --hidden-layers 6 --hidden-dim 2048 --exp exp/librispeech960
       recipes/librispeech/run.sh --corpus /data --size 100 --sets "dev_clean test_clean"
Stages: 0 corpus, 1 lexicon and language model, 2 features, 3 HMM/GMM and alignment, 4 frame store, 5 RBMs,
        6 DNN, 7 decoding and scoring, 8 algorithms and numbers of workers side by side (not unless asked for).

  --corpus DIR                   with LibriSpeech/train-clean-100, LibriSpeech/dev-clean and others in it
  --size mini|100|460|960        hours to train on; mini: 5                         ($size)
  --lexicon FILE                 lines 'WORD PHONE ...'                        (CORPUS/librispeech-lexicon.txt)
  --stress true|false            keep the lexicon's stress marks, AH0 AH1 AH2       ($stress)
END
  usage_of_all
  echo "
Without --arpa the language model is a trigram of the training transcripts. A set's name is that of a part, _ for -. The
sets of mini are dev_clean_2, of the others dev_clean dev_other test_clean:dev_clean test_other:dev_other."
}
parse_options "$@"
check_corpus
compare_when_asked

case $size in  # leaves and Gaussians of tri1 in Kaldi's egs/mini_librispeech/s5/run.sh; of tri4b, tri5b and tri6b in egs/librispeech
  mini) tri_opts=(--leaves 2000 --num-gauss 10000) ;;
  100) tri_opts=(--leaves 4200 --num-gauss 40000) ;;
  460) tri_opts=(--leaves 5000 --num-gauss 100000) ;;
  960) tri_opts=(--leaves 7000 --num-gauss 150000) ;;
esac
dnn_opts=(--epochs 4)
rates ng-sgd relu-renorm 0.008 0.0003
rates sgd relu 0.001 0.0001

stage_0() { prepare_data; }

stage_1() {
  prepare_lang
  language_model --order 3
}

run_stages
