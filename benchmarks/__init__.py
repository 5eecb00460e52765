"""What re-measures the project's own figures: run from the repository's root as `python -m benchmarks.NAME`."""
