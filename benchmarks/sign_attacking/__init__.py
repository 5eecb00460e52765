"""The parts of `sign_attacks.py`: which attacks there are, how they are made, and how detectors do on them."""
