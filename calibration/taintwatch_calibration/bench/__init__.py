"""The bench of detectors: networks, attacks, detectors and their figures."""
