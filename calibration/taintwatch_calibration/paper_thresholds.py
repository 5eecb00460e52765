"""K and dR of TaintRadar as published, from benign frames alone: the whole surface of false-positive rates.

For every K from 1 to 20 the rank changes of benign frames give the false-positive rate at every dR: a surface. The
paper (Li et al., 2021, section V) takes K up to k_max, where that rate is near its minimum and detection still high,
and then dR as small as possible for the target rate; the K that a rate takes falls as dR grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames, batches_of
from taintwatch_models.calibration_file import PaperCalibration
from taintwatch_models.fills import make_fill
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.resampling import inpaint
from taintwatch_models.graph.transforms import choose_branches, keep_outputs
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["LABEL_COUNTS", "PaperSurface", "choose_paper", "knee_of", "paper_ranks", "ranks_of_pixels"]

LABEL_COUNTS = tuple(range(1, 21))
"""The K that are tried: all of the paper's figures."""
_BATCH = 8

_Paint = Callable[[NDArray[np.bool_]], NDArray[np.float32]]
"""Fills holes, (n, H, W), in one picture: (n, 3, H, W)."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class PaperSurface:
    """The share of benign frames that alarm at each K and dR, and what is chosen from it."""

    ranks: Mapping[int, NDArray[np.int64]]
    """By K, the rank change of each benign frame, (frames,)."""
    k_max: int
    """The knee of the rate over K at dR = 0: from here on more labels hardly lower it."""
    chosen: PaperCalibration

    @property
    def false_positive_rates(self) -> dict[int, float]:
        """By K, the share of frames whose rank changes at all (dR = 0): the paper's Fig. 3a."""
        return {count: self.rate(count, 0) for count in self.ranks}

    def rate(self, labels: int, rank_change: int) -> float:
        """Return the false-positive rate at one point of the surface."""
        return float((self.ranks[labels] > rank_change).mean())

    def labels_needed(self, rank_change: int, target_fpr: float) -> int | None:
        """Return the smallest K that keeps the rate within the target at this dR; None where none does (Fig. 3b)."""
        return next((count for count in sorted(self.ranks) if self.rate(count, rank_change) <= target_fpr), None)


def choose_paper(ranks: Mapping[int, NDArray[np.int64]], target_fpr: float, settings: PaperCalibration) -> PaperSurface:
    """Choose K and dR from benign rank changes, with no attack.

    k_max is the knee of the benign rate over K. Of all (K <= k_max, dR) within the target rate the smallest dR is
    taken, and of its K the smallest: a larger intersection is filled, which uncovers more attacks. The paper gives the
    curves and the outcome (6% -> K = 9, dR = 2 for VGG16); that "near its minimum" is the knee is our reading.
    """
    k_max = knee_of({count: float((rank > 0).mean()) for count, rank in ranks.items()})
    changes = {count: _least_change(rank, target_fpr) for count, rank in ranks.items() if count <= k_max}
    labels = min(changes, key=lambda count: (changes[count], count))
    return PaperSurface(dict(ranks), k_max, replace(settings, labels=labels, rank_change=changes[labels]))


def knee_of(curve: Mapping[int, float]) -> int:
    """Return the K at which a falling curve lies farthest below the line between its ends (Satopaa et al., 2011).

    The smallest of them where several do; where the curve does not fall, its smallest K.
    """
    counts = sorted(curve)
    first, last = curve[counts[0]], curve[counts[-1]]
    if first <= last:
        return counts[0]

    def below(count: int) -> float:
        across = (count - counts[0]) / (counts[-1] - counts[0])
        return 1 - across - (curve[count] - last) / (first - last)

    return max(counts, key=lambda count: (round(below(count), 9), -count))


def paper_ranks(
    radar: RadarFile,
    frames: BenignFrames,
    settings: PaperCalibration,
    label_counts: Sequence[int],
    *,
    threads: int = 0,
    progress: Progress,
) -> dict[int, NDArray[np.int64]]:
    """Return `paper`'s rank change of each frame for each K."""
    told: Callable[[int], None] = lambda done: progress("paper", done, len(frames.pixels))  # noqa: E731
    return ranks_of_pixels(radar, frames.pixels, settings, label_counts, threads=threads, progress=told)


def ranks_of_pixels(
    radar: RadarFile,
    pixels: NDArray[np.uint8],
    settings: PaperCalibration,
    label_counts: Sequence[int],
    *,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, NDArray[np.int64]]:
    """Return `paper`'s rank change of pictures (N, H, W, 3) for each K, (N,) each.

    Each picture's masks are made once, those of the most labels; their running intersections are the masks of all
    smaller K. Only those that are neither empty nor the same as the last cost a forward.
    """
    counts = sorted({min(count, radar.info.classes) for count in label_counts})
    session = SessionSettings(threads=threads)
    masks_of = _label_masks(radar, settings, counts[-1], session)
    third, _ = open_session(keep_outputs(radar.proto, ["logits"]).SerializeToString(), session)
    painted = _painter(radar, settings.fill, session)
    ranks: dict[int, list[int]] = {count: [] for count in counts}
    for start, inputs in _batches(pixels, radar):
        for paint, label, masks in zip(painted(inputs), *masks_of(inputs), strict=True):
            for count, rank in _ranks_of_one(third, radar.info.input, paint, label, masks, counts):
                ranks[count].append(rank)
        progress(start + len(inputs))
    return {count: np.array(found, np.int64) for count, found in ranks.items()}


def _patterned(one: NDArray[np.float32], pattern: NDArray[np.float32], holes: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.asarray(np.where(holes[:, None], pattern, one), np.float32)


def _painter(radar: RadarFile, kind: str, session: SessionSettings) -> Callable[[NDArray[np.float32]], list[_Paint]]:
    """Return what gives, for each of a batch of inputs, the way to fill holes in it."""
    size = radar.info.preprocessing.size
    if kind != "inpaint":
        fill = make_fill(kind, "paper", radar.info.preprocessing)

        def patterned(inputs: NDArray[np.float32]) -> list[_Paint]:
            patterns = np.broadcast_to(fill(inputs)["paper_fill"], inputs.shape)
            return [partial(_patterned, one, pattern) for one, pattern in zip(inputs, patterns, strict=True)]

        return patterned
    b = GraphBuilder(17)
    b.nodes.append(onnx.helper.make_node("Where", ["hole", inpaint(b, "image", "hole", size), "image"], ["filled"]))
    given = [
        onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, *size]),
        onnx.helper.make_tensor_value_info("hole", onnx.TensorProto.BOOL, ["batch", 1, *size]),
    ]
    filled = [onnx.helper.make_tensor_value_info("filled", onnx.TensorProto.FLOAT, ["batch", 3, *size])]
    graph = onnx.helper.make_graph(b.nodes, "inpaint", given, filled, list(b.initializers.values()))
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    opened, _ = open_session(proto.SerializeToString(), session)

    def around(one: NDArray[np.float32], holes: NDArray[np.bool_]) -> NDArray[np.float32]:
        images = np.ascontiguousarray(np.broadcast_to(one, (len(holes), *one.shape)))
        found: NDArray[np.float32] = opened.run(["filled"], {"image": images, "hole": holes[:, None]})[0]
        return found

    return lambda inputs: [partial(around, one) for one in inputs]


def _ranks_of_one(
    third: Any, name: str, paint: _Paint, label: int, masks: NDArray[np.bool_], counts: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield (K, rank change) of one picture; `masks` (K, H, W) are those of its suppressed labels, in order."""
    running = np.logical_and.accumulate(masks, axis=0)
    holes = [running[count - 1] for count in counts]
    fresh = [i for i, hole in enumerate(holes) if hole.any() and (i == 0 or not np.array_equal(hole, holes[i - 1]))]
    found: dict[int, int] = {}
    for start in range(0, len(fresh), _BATCH):
        chosen = fresh[start : start + _BATCH]
        logits = third.run(None, {name: paint(np.stack([holes[i] for i in chosen]))})[0]
        found |= dict(zip(chosen, (logits > logits[:, label : label + 1]).sum(axis=1).tolist(), strict=True))
    rank = 0
    for index, count in enumerate(counts):
        rank = found.get(index, rank if holes[index].any() else 0)
        yield count, rank


def _label_masks(
    radar: RadarFile, settings: PaperCalibration, most: int, session: SessionSettings
) -> Callable[[NDArray[np.float32]], tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Return what gives a batch's labels (B,) and the masks of its `most` suppressed labels, (B, K, H, W)."""
    inner = _before_intersection(radar.proto)
    proto = onnx.ModelProto()
    proto.CopyFrom(radar.proto)
    proto.graph.output.append(onnx.helper.make_tensor_value_info(inner, onnx.TensorProto.FLOAT, None))
    graph = choose_branches(keep_outputs(proto, ["label", inner]), {"paper_inpaint": False})
    opened, _ = open_session(graph.SerializeToString(), session)
    accepted = {value.name for value in opened.get_overridable_initializers()}
    fill = make_fill(settings.fill, "paper", radar.info.preprocessing)
    constants: dict[str, NDArray[Any]] = {
        "paper_saliency_threshold": np.array(settings.saliency_threshold, np.float32),
        "paper_labels": np.array([most], np.int64),
    }

    def masks(inputs: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        feeds = {radar.info.input: inputs, **constants, **fill(inputs)}
        known = {name: value for name, value in feeds.items() if name in accepted or name == radar.info.input}
        label, above = opened.run(["label", inner], known)
        return label, above > 0

    return masks


def _before_intersection(proto: onnx.ModelProto) -> str:
    """Return the value that is above 0 where each label's map is above its threshold: (B, K, H, W)."""
    made_by = {output: node for node in proto.graph.node for output in node.output}
    node = made_by["paper_mask"]
    while node.op_type != "ReduceMin":  # what intersects the K masks
        node = made_by[node.input[0]]
    return str(node.input[0])


def _batches(pixels: NDArray[np.uint8], radar: RadarFile) -> Iterator[tuple[int, NDArray[np.float32]]]:
    yield from batches_of(pixels, radar.info.preprocessing)


def _least_change(ranks: NDArray[np.int64], target_fpr: float) -> int:
    """Return the smallest dR that keeps the share of frames above it within the rate."""
    change = 0
    while (ranks > change).mean() > target_fpr:
        change += 1
    return change
