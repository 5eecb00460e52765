"""Where frames come from: one small Protocol, one file for each kind."""
