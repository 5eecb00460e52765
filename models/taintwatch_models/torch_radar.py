"""TaintRadar with autograd: the oracle that the radar graph is tested against.

Written from the paper's steps (Li et al., INFOCOM 2021, sections III and IV), not from the graph: gradients come from
`torch.autograd`, masks from `interpolate`, one label at a time. Slow and plain on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from taintwatch_models.calibration_file import Calibration
from taintwatch_models.errors import InferenceError, first_line
from taintwatch_models.fills import Fill, make_fill
from taintwatch_models.graph.passes import picture_key
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.split import Split
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarInfo
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["GraphSplit", "SessionSplit", "SplitModel", "TorchRadar"]

TEMPERATURE = 2.0
Values = NDArray[np.float32]


class SplitModel(Protocol):
    """A classifier that also gives its last maps, joined to the logits by autograd."""

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to the logits (B, classes) and the maps (B, channels, h, w)."""
        ...


class GraphSplit:
    """An ONNX classifier run with Torch, as a `SplitModel`."""

    def __init__(self, graph: TorchGraph) -> None:
        self._graph = graph

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        maps = self._graph.maps(inputs).detach().requires_grad_(torch.is_grad_enabled())
        return self._graph.head(maps), maps


class SessionSplit:
    """An ONNX classifier as a `SplitModel`: its body by ONNX Runtime, its head by Torch in float64.

    Maps that are known, of pictures that some other graph was given, are taken as they are: see `graph.passes`.
    """

    def __init__(
        self, model: PlainModel, split: Split, head: TorchGraph, known: Mapping[bytes, tuple[Values, ...]] | None = None
    ) -> None:
        """`known`: by `picture_key`, the maps and the side values, a batch of 1 each."""
        self._model, self._split, self._head, self._known = model, split, head, known or {}
        self.ran = 0
        """How many pictures' maps were not known."""

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Raises `ModelError` where the body has to be loaded and cannot be."""
        values = self._known.get(picture_key(inputs.numpy())) or self._run(inputs)
        maps, *side = (torch.from_numpy(np.array(value)).double() for value in values)
        maps.requires_grad_(torch.is_grad_enabled())
        return self._head.head(maps, dict(zip(self._split.side, side, strict=True))), maps

    def _run(self, inputs: Tensor) -> tuple[Values, ...]:
        self.ran += len(inputs)
        wanted = [self._split.maps, *self._split.side]
        return tuple(self._session.run(wanted, {self._model.input: inputs.numpy()}))

    @cached_property
    def _session(self) -> Any:
        model, split = self._model, self._split
        wanted = [split.maps, *split.side]
        used = {name for node in split.body for name in node.input} | set(wanted)
        graph = helper.make_graph(
            split.body, "body", list(model.proto.graph.input),
            [helper.make_empty_tensor_value_info(name) for name in wanted],
            [tensor for tensor in model.proto.graph.initializer if tensor.name in used],
        )  # fmt: skip
        body = helper.make_model(graph, opset_imports=model.proto.opset_import, ir_version=model.proto.ir_version)
        given = body.SerializeToString() if model.weights is None else model.weights.saved(body)
        return open_session(given, SessionSettings(device="cpu"))[0]


class TorchRadar:
    """A batch of inputs in, the radar's outputs by name out: the same names and meanings as `OnnxRadar`.

    `paper_rises` (B,) bool beside them: whether any label's logit rises without the first region. Where that is empty,
    the labels are a choice among equals, which rounding makes.
    """

    def __init__(
        self,
        model: SplitModel,
        info: RadarInfo,
        variants: Sequence[str] = ("tight",),
        calibration: Calibration | None = None,
    ) -> None:
        """Raises `ConfigError` (an unreadable fill)."""
        self.info, self.provider = info, "torch"
        self._model, self._variants = model, tuple(variants)
        self._calibration = calibration or Calibration()
        self._fills: dict[str, Fill] = {
            variant: make_fill(getattr(self._calibration, variant).fill, variant, info.preprocessing)
            for variant in variants
        }

    def __call__(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Run a batch, (B, 3, H, W). Raises `InferenceError` where Torch fails."""
        try:
            rows = [self._one(torch.from_numpy(row[None])) for row in inputs]
        except RuntimeError as error:
            raise InferenceError(f"inference failed on {self.provider}: {first_line(error)}") from error
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _one(self, x: Tensor) -> dict[str, NDArray[Any]]:
        logits, maps = self._model(x)
        label = int(logits.argmax())
        outputs: dict[str, Any] = {"logits": logits, "label": np.array([label]), "features": maps}
        loss = logits.double()[0, label]
        if not self.info.multi_label:  # log(p / (1 - p)) has log p's direction, and does not vanish where p rounds to 1
            scaled = logits.double()[0] / TEMPERATURE
            loss = scaled[label] - torch.cat([scaled[:label], scaled[label + 1 :]]).logsumexp(0)
        gradient = torch.autograd.grad(loss, maps, retain_graph=True)[0]
        cellwise = F.relu((gradient.double() * maps.double()).sum(1))  # (1, h, w)
        outputs["saliency_concentration"] = cellwise.amax() / cellwise.mean().clamp_min(1e-300)
        if "tight" in self._variants:
            outputs |= self._tight(x, logits, label, cellwise)
        if "paper" in self._variants:
            outputs |= self._paper(x, logits, maps, label, gradient)
        return {name: _array(value) for name, value in outputs.items()}

    def _tight(self, x: Tensor, logits: Tensor, label: int, cellwise: Tensor) -> dict[str, Any]:
        mask = self._mask(cellwise, self._calibration.tight.saliency_threshold)
        after = self._logits(self._filled(x, mask, "tight"))
        margin = self._margin(after, label)
        return {
            "tight_mask": mask[None],
            "tight_label": after.argmax(1),
            "tight_rank": (after > after[:, label : label + 1]).sum(1),
            "tight_margin": margin,
            "tight_swing": margin - self._margin(logits.detach(), label),
        }

    def _paper(self, x: Tensor, logits: Tensor, maps: Tensor, label: int, gradient: Tensor) -> dict[str, Any]:
        settings = self._calibration.paper
        region = F.relu((gradient.mean((2, 3), keepdim=True).double() * maps.double()).sum(1))
        second = self._logits(self._filled(x, self._mask(region, settings.saliency_threshold), "paper"))
        rise = (second - logits.detach())[0]
        suppressed = rise.sort(descending=True, stable=True).indices[: settings.labels]  # of equals the first, as ONNX
        mask = torch.ones(x.shape[2:], dtype=torch.bool, device=x.device)
        for other in suppressed.tolist():
            slope = torch.autograd.grad(logits[0, other], maps, retain_graph=True)[0]
            own = F.relu(-(slope.mean((2, 3), keepdim=True).double() * maps.double()).sum(1))
            mask &= self._mask(own, settings.saliency_threshold)
        rank, new_label = 0, label
        if mask.any():  # an empty intersection is a rank change of 0
            third = self._logits(self._filled(x, mask, "paper"))
            rank, new_label = int((third > third[:, label : label + 1]).sum()), int(third.argmax())
        return {
            "paper_mask": mask[None],
            "paper_label": np.array([new_label]),
            "paper_rank": np.array([rank]),
            "paper_rises": np.array([bool((rise > 0).any())]),
        }

    def _mask(self, region: Tensor, threshold: float) -> Tensor:
        """(1, h, w) to (H, W) bool: empty where the map is zero everywhere."""
        size = self.info.preprocessing.size
        large = F.interpolate(region[None].detach(), size=size, mode="bilinear", align_corners=False)[0, 0]
        return large > threshold * large.amax() if large.amax() > 0 else torch.zeros_like(large, dtype=torch.bool)

    def _filled(self, x: Tensor, mask: Tensor, variant: str) -> Tensor:
        feed = self._fills[variant](x.cpu().numpy())
        pattern = feed.get(f"{variant}_fill")
        if pattern is None:
            raise InferenceError("the fill 'inpaint' is worked out by the ONNX graph; choose another for Torch")
        return torch.where(mask, torch.from_numpy(pattern).to(x.device), x)

    def _margin(self, logits: Tensor, label: int) -> Tensor:
        if self.info.multi_label:
            return -logits[:, label]
        others = logits.clone()
        others[:, label] = float("-inf")
        return others.amax(1) - logits[:, label]

    def _logits(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._model(x)[0]


def _array(value: Any) -> NDArray[Any]:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array if array.ndim else array[None]
