"""A synthetic Switchboard: invented telephone conversations in the very layout of the LDC's releases.

The speech is made by a machine; every figure measured on it must be called synthetic. `corpus.write_corpus` makes
the whole tree. Data flow, one file each:

    grammar.txt -> language   sentences of small talk, training and evaluation kept apart
    tokens                    the transcript's token kinds (partial words, laughter, asides, ...) put into sentences
    voices                    who speaks, through which telephone
    espeak | tones            tokens -> samples and word times
    conversation              two sides take turns on one time line
    channel                   reverberation, noise, telephone band
    tree, eval2000, sphere    files as the LDC lays them out
    dictionary, pronunciation phones of every word
    processes                 every conversation in a process of its own
"""
