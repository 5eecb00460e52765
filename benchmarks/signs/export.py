"""What a training run leaves: the ONNX file, its preprocessing as TOML, and the metrics as JSON."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.signs.network import INPUT_SIZE, MEAN, STD
from taintwatch_models.storage import write_atomically

__all__ = ["BACKGROUND", "preprocessing_toml", "write_onnx"]

BACKGROUND = "background"
OPSET = 17


def write_onnx(network: nn.Module, path: Path, size: int = INPUT_SIZE) -> None:
    """Export `network`: input `input` (batch, 3, size, size) normalised, output `logits`; opset 17, dynamic batch."""
    network.eval()
    example = torch.zeros(2, 3, size, size, device=next(network.parameters()).device)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The traced exporter is said to be on its way out; the new one gives no opset below 18.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]  # the traced exporter takes any binary stream
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,  # the traced exporter keeps opset 17 and folds batch norms into the convolutions
        )
    write_atomically(path, buffer.getvalue())


def preprocessing_toml(
    labels: tuple[str, ...],
    size: int = INPUT_SIZE,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    background: str | None = BACKGROUND,
) -> str:
    """Return the text of the file that stands beside the model: labels and preprocessing."""
    names = "".join(f"  {json.dumps(name)},\n" for name in labels)
    return (
        f"labels = [\n{names}]\n\n[preprocessing]\n"
        f"size = [{size}, {size}]\n"
        'resize = "crop"\norder = "rgb"\nscale = 255.0\n'
        f"mean = {list(mean)}\nstd = {list(std)}\n" + (f"background = {json.dumps(background)}\n" if background else "")
    )
