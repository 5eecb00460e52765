"""Live cameras on a Ray cluster: which group of cameras runs where, and what becomes of it when a machine is lost."""
