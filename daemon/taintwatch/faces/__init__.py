"""Faces in the daemon: followed from frame to frame, judged and voted on each by itself."""
