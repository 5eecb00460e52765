"""Preparing a model: cut it at its last convolutional maps, transpose its head, write one radar graph."""
