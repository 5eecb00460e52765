"""From a photo of the printed chart to a colour profile."""
