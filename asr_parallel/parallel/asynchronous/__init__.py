"""Asynchronous parallel training: K workers and a center, which exchange models each at its own time."""
