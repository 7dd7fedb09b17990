"""Acoustic-model networks. Knows nothing of workers."""
