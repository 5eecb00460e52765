"""The camera model for the bench: differentiable for crafting, and sheets simulated in a matrix of poses."""
