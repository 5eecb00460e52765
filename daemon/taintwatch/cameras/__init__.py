"""Cameras: one thread around each source, and the set that batches their newest frames."""
