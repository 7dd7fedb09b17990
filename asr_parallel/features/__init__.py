"""Features: MFCC and fbank, CMVN, deltas, the memory-mapped frame store."""
