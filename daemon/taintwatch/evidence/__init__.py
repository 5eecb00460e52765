"""What is kept of alerts: their life in a database, pictures and a clip of each, for as long as there is room."""
