"""The parts of the benchmark on faces: `python -m benchmarks.faces`."""
