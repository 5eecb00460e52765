"""Digital patches over batch sizes, sizes and places, as in TaintRadar's Table II, for any prepared model."""
