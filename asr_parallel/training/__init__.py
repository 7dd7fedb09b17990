"""The loop that trains a network on a frame store."""
