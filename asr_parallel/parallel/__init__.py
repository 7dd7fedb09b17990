"""What K workers do to each other's models; knows nothing of speech."""
