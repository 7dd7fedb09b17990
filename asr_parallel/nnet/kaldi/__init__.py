"""Networks for Kaldi: its nnet3 and nnet1 formats, and the files beside them."""
