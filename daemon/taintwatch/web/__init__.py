"""The page: what the cameras see, the alerts with their evidence, the bench's trials."""
