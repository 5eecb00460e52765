"""systemd's unit files: rendered for this machine, checked, put in place all or none, taken away again."""
