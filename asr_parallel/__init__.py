"""Train speech-recognition acoustic models on many workers and measure what that costs in word error rate."""

__version__ = "0.6.0"
