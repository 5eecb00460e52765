"""CMAG before a run: its reconstructors are trained and exported, thresholds chosen, and all of it measured."""
