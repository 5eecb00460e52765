"""The parts of the soak: cameras that can be broken, the daemon as a process, a subscriber, the faults, the table."""
