#!/usr/bin/env bash
# Connected digits, real speech: the Free Spoken Digit Dataset, four speakers to train, two unseen ones to test.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

stage=0
stop_stage=8
exp=$root/exp/digits
jobs=$(default_jobs)
seed=1
augment=true
corpus=
lists=
arpa=
max_bad_share=0.05
feature_backend=lhotse
dither=1.0
mono_gauss=1000
tri_leaves=300
tri_gauss=3000
hidden_layers=1
hidden_dim=512
nonlinearity=
optimizer=ng-sgd
learning_rate=
final_learning_rate=
epochs=2
precision=auto
pretrain=none
rbm=rbm
rbm_epochs=1
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
options=(stage stop_stage exp jobs seed augment corpus lists arpa max_bad_share feature_backend dither mono_gauss tri_leaves
  tri_gauss hidden_layers hidden_dim nonlinearity optimizer learning_rate final_learning_rate epochs precision
  pretrain rbm rbm_epochs workers algorithm period dnn_options decode_options processes evaluate_frames systems dnn model
  compare network score_options score_units)

usage() {
  cat << END
Usage: recipes/digits/run.sh --corpus DIR [options]
 e.g.: recipes/digits/run.sh --corpus free-spoken-digit-dataset
       recipes/digits/run.sh --corpus free-spoken-digit-dataset --stage 6 --seed 2
Stages: 0 corpus, 1 lexicon and language model, 2 features, 3 HMM/GMM and alignment, 4 frame store, 5 RBMs,
        6 DNN, 7 decoding and scoring, 8 algorithms and numbers of workers side by side.

  --corpus DIR                   a clone of the public repository Jakobovski/free-spoken-digit-dataset
  --lists DIR                    {train,dev,test}.{list,text}: which recordings make which utterance (generated)
  --arpa FILE                    language model made elsewhere, ARPA or ARPA.gz     (every digit equally likely)
  --stage N, --stop-stage N      first and last stage to run                        (0, 8)
  --config FILE                  lines 'option: value', below the command line's
  --exp DIR                      where everything goes                              ($exp)
  --jobs N                       processes                                          ($jobs)
  --seed N                       of generated lists and the DNN                     ($seed)
  --augment true|false           copies of the training data with other vocal tracts and noise   ($augment)
  --max-bad-share X              of recordings or utterances, left out with a warning           ($max_bad_share)
  --feature-backend NAME         lhotse, torchaudio or kaldi-native-fbank           ($feature_backend)
  --dither X                     noise in the audio, 16-bit steps; 0: none          ($dither)
  --mono-gauss, --tri-leaves, --tri-gauss N                                         ($mono_gauss, $tri_leaves, $tri_gauss)
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
  --period N                     minibatches between two meetings of workers        (train-dnn's)
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

# What generalises to unseen speakers when four train, found by leaving each of those four out in turn (RESULTS.md): copies
# with other vocal tracts and more noise, CMVN of the variance too, and lines and bands varied from example to example.
fbank_opts=(--noise-floors-db 25)
train_fbank_opts=(--noise-floors-db 25,15,35 --warp-factors 0.88,1.0,1.12)
[[ $augment == true ]] || train_fbank_opts=()
frames_opts=(--norm-vars)
rbm_opts=()
dnn_opts=(--channel-tilt 0.3 --channel-ripple 0.2 --mask-filters 15)
rates ng-sgd relu-renorm 0.001 0.0001
rates sgd relu 0.0004 0.00004
read -ra decode_opts <<< "$decode_options"
read -ra score_opts <<< "$score_options"
[[ $score_units == word ]] || score_opts+=(--score-units "$score_units")

stage_0() {
  local more=()
  [[ -z $corpus ]] || more+=(--corpus "$corpus")
  [[ -z $lists ]] || more+=(--lists "$lists")
  run prepare-digits --out "$exp" --seed "$seed" --max-bad-share "$max_bad_share" "${more[@]}"
}

stage_1() {
  run lang --data "$exp/data/train" --lexicon digits --out "$exp/lang"
  language_model --order 0
}

run_stages
