"""Training of the bundled network that says whether a place looks like an optimised pattern (`appearance.onnx`)."""
