"""Choosing the vote: score sequences of simulated and real footage, replayed through every policy."""
