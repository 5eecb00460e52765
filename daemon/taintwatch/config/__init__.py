"""The configuration: what may be set, how a file is read, and how its mistakes are told."""
