"""HMM topology, phonetic decision tree, GMMs, alignment and the decoding graph."""
