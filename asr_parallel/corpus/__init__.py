"""From discs to manifests: corpora, transcripts, lexicon, language model, the synthetic corpus."""
