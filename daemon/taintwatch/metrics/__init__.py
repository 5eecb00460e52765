"""What monitoring reads: counters and histograms for Prometheus, and whether the daemon lives and is ready."""
