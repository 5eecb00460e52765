"""From pixels to a verdict: classifiers, their heads, TaintRadar, CMAG, and the bundled weights."""
