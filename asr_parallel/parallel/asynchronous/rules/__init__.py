"""The rules of asynchronous training, one file each."""
