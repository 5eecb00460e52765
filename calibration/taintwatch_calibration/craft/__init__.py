"""Crafting physical attacks with Torch."""
