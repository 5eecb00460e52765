"""Attack the bundled sign recogniser in every way that the crafting loop knows: `python -m benchmarks.sign_attacks`."""
