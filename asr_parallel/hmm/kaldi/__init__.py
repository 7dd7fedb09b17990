"""Models and alignments that Kaldi has made: its files' formats, and what of them a frame store needs."""
