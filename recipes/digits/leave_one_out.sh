#!/usr/bin/env bash
# How well do settings do on unseen speakers? Every training speaker in turn is left out and decoded, so that settings can
# be compared without a look at the test speakers.
#   recipes/digits/leave_one_out.sh EXP [options of run.sh]
# EXP is an experiment of run.sh (its stage 0 is enough); results go to EXP/without_SPEAKER.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

[[ $# -ge 1 && -d $1/data/train ]] || die "usage: leave_one_out.sh EXP [options of run.sh]; EXP/data/train must exist"
exp=$(cd "$1" && pwd)
shift
for speaker in $(cut -d ' ' -f 2 "$exp/data/train/utt2spk" | sort -u); do
  run leave-speaker-out --data "$exp/data" --speaker "$speaker" --out "$exp/without_$speaker/data"
  "$recipe_dir/run.sh" "$@" --stage 1 --exp "$exp/without_$speaker"
done
cat "$exp"/without_*/*/decode_eval/best_wer
