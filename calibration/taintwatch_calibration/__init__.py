"""Everything done before or around a run: thresholds, training, crafting, printing, trials and benches."""
