#!/usr/bin/env bash
# Switchboard-1 for training, eval2000 for testing: from the LDC's discs, or from a synthetic corpus in the same layout.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

stage=0
stop_stage=8
exp=$root/exp/swbd
jobs=$(default_jobs)
seed=1
# the discs; all four or none (then the corpus is synthetic)
audio=
transcripts=
eval_audio=
eval_transcripts=
dictionary=
# the synthetic corpus, in hours of transcribed speech
hours=1.5
eval_hours=0.25
# or anybody's data: a folder of Kaldi data directories train, dev and eval, and a lexicon
corpus=
corpus_format=ldc
lexicon=
arpa=
sampling_rate=auto
max_bad_share=0.05
feature_backend=lhotse
dither=1.0
mono_gauss=1000
tri_leaves=800
tri_gauss=8000
context=5
architecture=dnn
hidden_layers=3
hidden_dim=512
nonlinearity=
optimizer=ng-sgd
learning_rate=
final_learning_rate=
epochs=4
precision=auto
pretrain=none
rbm=rbm
rbm_epochs=3
workers=1
algorithm=average
period=
dnn_options=
decode_options=
score_options=
score_units=word
processes=1
evaluate_frames=
systems=all
dnn=dnn
model=
compare=
network=10gbe
options=(stage stop_stage exp jobs seed audio transcripts eval_audio eval_transcripts dictionary hours eval_hours corpus
  corpus_format lexicon arpa sampling_rate max_bad_share feature_backend dither mono_gauss tri_leaves tri_gauss
  context architecture hidden_layers
  hidden_dim nonlinearity optimizer learning_rate final_learning_rate epochs precision
  pretrain rbm rbm_epochs workers algorithm period dnn_options decode_options processes evaluate_frames systems dnn model
  compare network score_options score_units)

usage() {
  cat << END
Usage: recipes/swbd/run.sh [options]
 e.g.: recipes/swbd/run.sh                                  # on a synthetic corpus, written first
       recipes/swbd/run.sh --hours 5 --exp exp/swbd5 --tri-leaves 1500 --tri-gauss 20000
       recipes/swbd/run.sh --audio /ldc/LDC97S62 --transcripts /ldc/swb_ms98_transcriptions \\
         --eval-audio /ldc/LDC2002S09 --eval-transcripts /ldc/LDC2002T43 --config recipes/swbd/conf/full.yaml
       recipes/swbd/run.sh --corpus-format kaldi --corpus mydata --lexicon mylexicon.txt --exp exp/mine
       recipes/swbd/run.sh --stage 7 --stop-stage 7         # decode and score again
Stages: 0 corpus, 1 lexicon and language model, 2 features, 3 HMM/GMM and alignment, 4 frame store, 5 RBMs,
        6 DNN, 7 decoding and scoring, 8 algorithms and numbers of workers side by side.

  --stage N, --stop-stage N      first and last stage to run                        (0, 8; with a corpus of your own 7,
                                 because stage 8 trains ten networks more)
  --config FILE                  lines 'option: value', below the command line's
  --exp DIR                      where everything goes                              ($exp)
  --jobs N                       processes                                          ($jobs)
  --seed N                       of the synthetic corpus and the DNN                ($seed)
  --audio, --transcripts, --eval-audio, --eval-transcripts DIR
                                 LDC97S62, MS-State transcripts, LDC2002S09, LDC2002T43
  --dictionary FILE              MS-State dictionary        (TRANSCRIPTS/sw-ms98-dict.text)
  --hours, --eval-hours H        size of the synthetic corpus                       ($hours, $eval_hours)
  --corpus-format ldc|kaldi      kaldi: read --corpus DIR/{train,dev,eval}          ($corpus_format)
  --corpus DIR, --lexicon FILE   with --corpus-format kaldi
  --arpa FILE                    language model made elsewhere, ARPA or ARPA.gz     (a trigram of the training text)
  --sampling-rate HZ             with --corpus-format kaldi: of the recordings to keep; auto: all of train have it,
                                 dev and eval have train's                          ($sampling_rate)
  --max-bad-share X              of recordings or utterances, left out with a warning           ($max_bad_share)
  --feature-backend NAME         lhotse, torchaudio or kaldi-native-fbank           ($feature_backend)
  --dither X                     noise in the audio, 16-bit steps; 0: none          ($dither)
  --mono-gauss, --tri-leaves, --tri-gauss N                                         ($mono_gauss, $tri_leaves, $tri_gauss)
  --context N                    frames on either side that the network may see     ($context)
  --architecture dnn|tdnn        tdnn: with --context 13 at least; no --hidden-layers ($architecture)
  --hidden-layers, --hidden-dim N                                                   ($hidden_layers, $hidden_dim)
  --optimizer ng-sgd|sgd|momentum|nesterov|adam                                     ($optimizer)
  --nonlinearity sigmoid|tanh|relu|relu-renorm|pnorm       (relu-renorm; with sgd relu, which SGD trains better)
  --learning-rate, --final-learning-rate X  per frame      (by optimizer: 'rates' in this script; else train-dnn's)
  --epochs N                                                                        ($epochs)
  --precision auto|float32|bf16  of products                                        ($precision)
  --pretrain none|rbm            rbm: the DNN's layers, sigmoids, begin as RBMs     ($pretrain)
  --rbm NAME                     the RBMs' folder, to keep several                  ($rbm)
  --rbm-epochs N                 passes over the data; twice as many for the first  ($rbm_epochs)
  --workers K                    train on a share of the frames each                ($workers)
  --algorithm NAME               average, block-momentum, elastic, gradient, colearn, ensemble or none  ($algorithm)
  --period N                     minibatches between two synchronizations of workers (train-dnn's)
  --dnn-options 'WORDS'          more options of train-dnn: '--comm-dtype int8 --ema 0.99'
  --processes P                  that the workers are in                            ($processes)
  --evaluate-frames N            between evaluations on held-out data               (only at epochs' ends)
  --decode-options 'WORDS'       options of decode: '--beam 10 --max-active 3000'
  --score-options 'WORDS'        options of score: '--lmwt-range 5:25'
  --score-units word|char        char: characters' errors beside words', and by them the weights  ($score_units)
  --systems all|dnn              dnn: decode that alone, not the GMMs               ($systems)
  --dnn NAME                     the network's folder, to keep several              ($dnn)
  --compare FILE                 what stage 8 compares         (conf/compare.yaml of the recipe)
  --network NAME                 of its modelled clock                              ($network)
  --model DIR                    decode this network or ensemble, as system --dnn   (that of --dnn)
END
}
parse_options "$@"
check_workers

discs=("$audio" "$transcripts" "$eval_audio" "$eval_transcripts")
case $corpus_format in
  ldc)
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
    fi
    ;;
  kaldi)
    [[ -n $corpus && -n $lexicon ]] || die "--corpus-format kaldi needs --corpus DIR and --lexicon FILE"
    [[ -z $(printf %s "${discs[@]}") ]] || die "--audio and the other discs go with --corpus-format ldc"
    ;;
  *) die "--corpus-format must be ldc or kaldi, not '$corpus_format'" ;;
esac
[[ $corpus_format == kaldi || $sampling_rate =~ ^(auto|8000)$ ]] ||
  die "--sampling-rate goes with --corpus-format kaldi; Switchboard has 8000"
[[ $sampling_rate =~ ^(auto|[1-9][0-9]*)$ ]] || die "--sampling-rate must be auto or a number of Hz, not '$sampling_rate'"
if [[ -z ${synthetic:-} ]] && ((stage < 8)) && ! was_given stop_stage && ! was_given compare; then
  stop_stage=7  # many more trainings, nothing to begin on anybody's data without being asked
fi

fbank_opts=()
train_fbank_opts=()
frames_opts=(--context "$context")
rbm_opts=()
dnn_opts=(--channel-tilt 0.3 --channel-ripple 0.2 --mask-filters 15)
rates ng-sgd relu-renorm 0.008 0.0003
rates sgd relu 0.001 0.0001
rates ng-sgd sigmoid 0.032 0.0032
rates sgd sigmoid 0.008 0.0008 none
rates sgd sigmoid 0.016 0.0016 rbm
read -ra decode_opts <<< "$decode_options"
read -ra score_opts <<< "$score_options"
[[ $score_units == word ]] || score_opts+=(--score-units "$score_units")

stage_0() {
  local set more
  if [[ $corpus_format == kaldi ]]; then
    for set in train dev eval; do
      more=()
      [[ $set == train ]] || more=(--like "$exp/data/train")
      run import-kaldi --from "$corpus/$set" --out "$exp/data/$set" --sampling-rate "$sampling_rate" \
        --max-bad-share "$max_bad_share" "${more[@]}"
    done
    return
  fi
  [[ -z ${synthetic:-} ]] ||
    run synthesize --out "$synthetic" --hours "$hours" --eval-hours "$eval_hours" --seed "$seed" --jobs "$jobs"
  run prepare-swbd --audio "$audio" --transcripts "$transcripts" --eval-audio "$eval_audio" \
    --eval-transcripts "$eval_transcripts" --out "$exp/data" --max-bad-share "$max_bad_share"
}

stage_1() {
  local words=(--dictionary "${dictionary:-$transcripts/sw-ms98-dict.text}")
  [[ $corpus_format == ldc ]] || words=(--lexicon "$lexicon")
  run lang --data "$exp/data/train" "${words[@]}" --out "$exp/lang"
  language_model --order 3
}

run_stages
