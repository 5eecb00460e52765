"""Long footage: work over many files, on all cores or several machines, that can be interrupted and taken up again."""
