"""From log-likelihoods to lattices, words and word error rate. Knows nothing of training."""
