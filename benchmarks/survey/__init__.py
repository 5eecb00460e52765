"""Every attack and defence that the survey among the sources names, measured small or named as out: docs/survey.md."""
