"""Preparing a model: split it at its last convolutional maps, transpose its head, write one radar graph."""
