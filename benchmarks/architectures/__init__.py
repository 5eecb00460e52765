"""Which exported classifiers are prepared as they are, and whether what is prepared is right."""
