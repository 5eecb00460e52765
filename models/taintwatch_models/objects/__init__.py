"""Object detectors: their outputs decoded into boxes, and the boxes found in a picture."""
