"""Inference on a Triton server: the graphs that a run would open here, as a model repository, and sessions there."""
