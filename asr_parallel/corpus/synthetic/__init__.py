"""A synthetic Switchboard corpus: generated telephone conversations in the layout of the LDC's releases.

The speech is synthetic; every result measured on it must be called synthetic. `corpus.write_corpus` writes the whole
corpus. Data flow, one module each:

    grammar.txt -> language   sentences of small talk, training and evaluation kept apart
    tokens                    special tokens (partial words, laughter, asides, ...) inserted into sentences
    voices                    speakers
    espeak | tones            tokens -> samples and word times
    conversation              turns of two speakers on one time line
    segmentation              transcribed segments of each side
    telephone                 reverberation, noise, telephone band
    swbd_tree, eval2000_tree, sphere    files in the layout of the LDC
    dictionary, pronunciation           phones of every word
    fresh_processes           one process for each conversation
"""
