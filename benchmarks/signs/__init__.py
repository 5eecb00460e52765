"""Training of the bundled traffic-sign recogniser. Needs torch; `train` is the program."""
