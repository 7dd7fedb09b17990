"""Asynchronous training: a center, workers that exchange with it at their own pace, and the messages between them."""
