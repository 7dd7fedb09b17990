"""Corpora: transcripts, lexicon, language model, the synthetic corpus."""
