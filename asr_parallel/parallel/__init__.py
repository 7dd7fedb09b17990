"""Synchronous parallel training of K workers' models; nothing here depends on speech."""
