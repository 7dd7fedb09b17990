"""Decoding and scoring: log-likelihoods to lattices, words and word error rates. Knows nothing of training."""
