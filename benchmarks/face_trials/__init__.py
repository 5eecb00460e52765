"""The parts of the benchmark on faces: `benchmarks/faces.py`."""
