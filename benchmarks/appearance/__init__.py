"""Training of the bundled networks that say whether a place looks like an optimised pattern."""
