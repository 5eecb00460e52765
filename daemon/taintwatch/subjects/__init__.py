"""What in a camera's picture is judged by itself: faces, regions, objects. One step, before classification."""
