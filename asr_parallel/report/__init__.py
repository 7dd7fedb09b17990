"""Tables of what an experiment directory holds."""
