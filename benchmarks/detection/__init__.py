"""Detection measured: the reference models, attacks on them, the product's detectors and those of the literature."""
