"""The simulator's film model for the bench: differentiable for crafting, and sheets filmed in a matrix of poses."""
