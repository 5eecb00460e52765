"""The running service: capture, pipeline, vote, alerts and the command line."""

__version__ = "0.1.0"
