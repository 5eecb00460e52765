"""The sources' experiments as they were published, each beside the source's own figures: see docs/published.md."""
