"""What `python -m benchmarks.throughput` is made of: the stages of one check, many cameras at once, the picture."""
