"""The command line: one program, its commands imported only when they are called."""
