"""Makers of patches that know nothing of the project's own crafting: adversaries for measurements."""
