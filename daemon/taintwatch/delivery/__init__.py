"""Alerts to brokers that keep them: from the history, at least once, in order, over restarts of either side."""
