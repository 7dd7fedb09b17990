"""The modelled clock: what a step, a message and a wait cost."""
