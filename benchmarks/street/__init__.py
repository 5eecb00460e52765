"""The sign finder, trained on rendered streets: `python -m benchmarks.street --help`."""
