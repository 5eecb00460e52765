"""Object detectors as wearers, and in front of a classifier: `python -m benchmarks.objects --help`."""
