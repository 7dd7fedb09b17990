"""Models, alignments and lang folders in Kaldi's formats: those that Kaldi has made, and this package's for Kaldi."""
