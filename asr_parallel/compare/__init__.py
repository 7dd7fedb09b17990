"""Many trainings, decoded and put side by side."""
