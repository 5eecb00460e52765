"""A siege: every known attack at once on a running daemon, beside which a real attack on a camera must be alerted."""
