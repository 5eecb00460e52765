"""A fleet on one machine: simulated cameras on Ray, PostgreSQL and a broker, each killed in its turn."""
