"""Names in the record of a training: its file, the kinds of its lines, and the folder of TensorBoard's files."""

LINES = "train.jsonl"
EVENTS = "tensorboard"
TRAIN, HELD_OUT, ROUND = "train", "held-out", "round"
