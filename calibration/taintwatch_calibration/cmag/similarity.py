"""Structural similarity in Torch: differentiable for training, and plain matrix products in the exported graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taintwatch_models.cmag.similarity import C1, C2, window_matrix

__all__ = ["StructuralSimilarity", "global_similarity", "reconstruction_loss"]


class StructuralSimilarity(nn.Module):
    """SSIM (Wang et al., 2004) of pictures (B, channels, H, W) in [0, 1] -> (B,) in [-1, 1].

    The same settings as `taintwatch_models.cmag.similarity.structural_similarity`. Constant pictures are defined: the
    constants C1 and C2 keep every denominator above 0.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int) -> None:
        """Raises `UsageError` where a side is shorter than the window."""
        super().__init__()
        self.register_buffer("rows", torch.from_numpy(window_matrix(height)), persistent=False)
        self.register_buffer("columns", torch.from_numpy(window_matrix(width)).T.contiguous(), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        channels = first.shape[1]
        # The two variances are only needed as a sum, so that one window mean serves both.
        stacked = torch.cat([first, second, first * first + second * second, first * second], dim=1)
        means = torch.matmul(torch.matmul(self.rows, stacked), self.columns)  # (B, 4 * channels, H - 10, W - 10)
        mean_x, mean_y, squares, product = torch.split(means, channels, dim=1)
        both = 2 * mean_x * mean_y + C1
        brightness = mean_x * mean_x + mean_y * mean_y
        similarity = (both * (2 * product - both + (C1 + C2))) / ((brightness + C1) * (squares - brightness + C2))
        result: Tensor = similarity.mean(dim=(1, 2, 3))
        return result


def global_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return SSIM (Wang et al., 2004) of pictures (B, channels, H, W) with one window, the whole picture: (B,).

    As Han et al. (2021) print it; the mean over channels. It forgives noise that the windowed one does not.
    """
    x, y = first.flatten(2).double(), second.flatten(2).double()  # (B, channels, H * W)
    mean_x, mean_y = x.mean(2), y.mean(2)
    covariance = (x * y).mean(2) - mean_x * mean_y
    spread = x.var(2, correction=0) + y.var(2, correction=0)
    alike = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    similarity: Tensor = (alike / ((mean_x**2 + mean_y**2 + C1) * (spread + C2))).mean(1)
    return similarity


def reconstruction_loss(similarity: StructuralSimilarity, made: Tensor, wanted: Tensor, mu: float = 0.5) -> Tensor:
    """Return `mu * MSE + (1 - mu) * (1 - SSIM)`, averaged over the batch.

    Han et al. (2021) print `+ SSIM`; minimising that would make the reconstruction as unlike as it can be.
    """
    error = torch.mean((made - wanted) ** 2)
    loss: Tensor = mu * error + (1 - mu) * (1 - similarity(made, wanted).mean())
    return loss
