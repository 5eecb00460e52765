"""A fleet on one machine: simulated cameras on Ray, PostgreSQL and a broker, killed one after the other."""
