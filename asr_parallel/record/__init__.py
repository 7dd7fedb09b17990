"""Experiment directories: atomic files, cached stages, locks, log, progress, environment."""
