"""Pretraining of hidden layers as restricted Boltzmann machines."""
