"""The demo: a drawn scene, a shipped attack, and the daemon's own parts watching it."""
