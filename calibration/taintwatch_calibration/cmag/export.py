"""The reconstructors, their SSIM, l2 and other statistics as one ONNX graph."""

from __future__ import annotations

import io
import warnings

import onnx
import torch

from taintwatch_calibration.cmag.statistics import STATISTICS, CmagGraph
from taintwatch_models.cmag.file import CmagFile, CmagInfo, attach_info
from taintwatch_models.cmag.runner import PICTURES
from taintwatch_models.radar_file import RadarInfo

__all__ = ["export_graph"]

_OPSET = 17


def export_graph(graph: CmagGraph, model: RadarInfo, *, benign: str = "", benign_frames: int = 0) -> CmagFile:
    """Return the graph as ONNX (opset 17, dynamic batch), bound to `model` by its hash."""
    shape = graph.reconstructors.shape
    height, width = shape.cells
    example = (
        torch.rand(2, shape.channels, height, width),
        torch.rand(2, shape.classes),
        torch.rand(2, shape.colours, shape.size, shape.size),
    )
    inputs, outputs = ["features", "logits", "picture"], [*PICTURES, *STATISTICS]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own future and of shapes that are constant here
        torch.onnx.export(
            graph.eval(),
            example,
            buffer,  # type: ignore[arg-type]  # the traced exporter takes any binary stream
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
            opset_version=_OPSET,
            dynamo=False,
        )
    info = CmagInfo(
        model_hash=model.source_sha256,
        model_name=model.name,
        channels=shape.channels,
        cells=shape.cells,
        classes=shape.classes,
        size=shape.size,
        colours=shape.colours,
        temperature=shape.temperature,
        statistics=STATISTICS,
        benign=benign,
        benign_frames=benign_frames,
    )
    proto = onnx.load_model_from_string(buffer.getvalue())
    proto.producer_name = "taintwatch"
    return attach_info(proto, info)
