"""Every kind of input, as recorders and cameras give it: frames judged, colours, alerts, and what is said."""
