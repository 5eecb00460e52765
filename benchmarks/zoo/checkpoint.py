"""The checkpoint of a training of the zoo, NAME.pt, and the averaged network in it."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from benchmarks.training_loop import LoopState
from benchmarks.zoo.networks import build_network
from benchmarks.zoo.recipes import Recipe
from taintwatch_models.errors import UsageError

__all__ = ["averaged_network", "read_checkpoint"]


def read_checkpoint(path: Path) -> LoopState:
    """Read a checkpoint of the zoo: `identity`, `loop`, `generator`. Raises `UsageError` where it cannot be read."""
    try:
        state: LoopState = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path} is missing, and another network begins with its weights: train that again.") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UsageError(f"{path} is no checkpoint that can be read ({type(error).__name__}): remove it.") from None
    if not isinstance(state, dict) or not {"identity", "loop", "generator"} <= set(state):
        raise UsageError(f"{path} is no checkpoint of the zoo: remove it.")
    return state


def averaged_network(recipe: Recipe, checkpoint: Path, classes: int) -> nn.Module:
    """Return the averaged network of a checkpoint, its weights frozen. Raises `UsageError` where it cannot be read."""
    with torch.random.fork_rng(devices=[]):
        averaged = AveragedModel(build_network(recipe.architecture, classes, recipe.width), use_buffers=True)
    averaged.load_state_dict(read_checkpoint(checkpoint)["loop"]["average"])
    network: nn.Module = averaged.module
    return network.eval().requires_grad_(False)
