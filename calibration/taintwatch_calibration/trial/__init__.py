"""Trials: simulate or record clips over distances, angles and lights; score them; report."""
