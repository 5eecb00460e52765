"""The bias-based universal patch (Liu et al., Bias-based Universal Adversarial Patch Attack, ECCV 2020).

1. Perceptual bias: a textural prior, whose style is that of hard examples and of which the network is least sure:
   style distance + w_u * (-entropy), equations (2) to (4).
2. Semantic bias: a prototype for each class, the picture that leads the class by the largest margin over all others:
   mean over c of max(0, margin - S_t + S_c), equation (5).
3. The patch begins as the prior and is trained on prototypes alone: P_t(x') - max over c != t of P_c(x'), equation (6).

It needs no picture of the task but the hard examples. In the paper the patch is tried on other networks: `more`.
"""

from __future__ import annotations

import click
import torch
from torch import Tensor

from benchmarks import zoo
from benchmarks.survey.attacks.base import Attacked, Printed, Scale, show_pattern
from benchmarks.survey.attacks.features import gram, layer_maps, layers_of, style_loss
from benchmarks.survey.subject import Subject
from benchmarks.zoo.recipes import recipe_of
from taintwatch_calibration.craft.engine import Outcome, Schedule, optimise
from taintwatch_calibration.craft.losses import others
from taintwatch_calibration.craft.materials import classify, load_classifier
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["bias_patch", "entropy", "hardest", "margin_loss", "prototype_lead"]

PATCH, PLACEMENT = 48, Placement((None,), (0.35,), rotation_degrees=10.0)
_MARGIN = 10.0
_SIBLINGS = {"signs": "signs_backdoor", "objects": "objects_residual"}


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the softmax, (B,), nats."""
    shares = logits.log_softmax(1)
    return -(shares.exp() * shares).sum(1)


def margin_loss(logits: Tensor, label: Tensor, margin: float = _MARGIN) -> Tensor:
    """Return the multi-class margin loss, (B,): mean over other classes c of max(0, margin - S_label + S_c)."""
    own = logits.gather(1, label[:, None])
    short = (margin - own + logits).clamp_min(0)
    return (short.sum(1) - margin) / (logits.shape[1] - 1)  # the label's own term is the margin


def prototype_lead(logits: Tensor, label: Tensor) -> Tensor:
    """Return P_label - max over c != label of P_c, (B,): what the patch minimises."""
    shares = logits.softmax(1)
    return shares.gather(1, label[:, None])[:, 0] - others(shares, label)


def hardest(subject: Subject, count: int) -> Tensor:
    """Return the benign pictures that the network is least sure of, (count, 3, H, W) in [0, 1]."""
    pictures = subject.to_craft_on().pixels
    with torch.no_grad():
        order = entropy(subject.logits(pictures)).argsort(descending=True)
    return pictures[order[:count]]


def textural_prior(subject: Subject, scale: Scale) -> Tensor:
    """Return the prior, (3, 48, 48) in [0, 1]."""
    names = layers_of(subject.radar, 3)
    with torch.no_grad():
        style = [gram(maps).mean(0, keepdim=True) for maps in layer_maps(subject, hardest(subject, 16), names)]

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        large = torch.nn.functional.interpolate(values, size=(subject.side,) * 2, mode="bilinear", align_corners=False)
        loss = style_loss(layer_maps(subject, large, names), style) - 0.2 * entropy(subject.logits(large))
        return Outcome(loss.sum(), 0.0)

    schedule = Schedule(scale.of(60), 0.03, "adam", seed=scale.seed)
    return optimise(objective, lambda g: torch.rand(1, 3, PATCH, PATCH, generator=g), schedule)[0]


def prototypes(subject: Subject, scale: Scale) -> tuple[Tensor, Tensor]:
    """Return a prototype for each class, at most 43, (C, 3, H, W) in [0, 1], and their labels."""
    labels = torch.arange(min(subject.radar.info.classes, 43))

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        logits = subject.logits(values)
        return Outcome(margin_loss(logits, labels).sum(), float((logits.argmax(1) == labels).float().mean()))

    schedule = Schedule(scale.of(60), 0.03, "adam", seed=scale.seed, stop_at=1.0, stop_over=20)
    grey: Tensor = 0.5 + torch.zeros(len(labels), 3, subject.side, subject.side)
    return optimise(objective, lambda g: grey + 0.1 * torch.randn(grey.shape, generator=g), schedule), labels


def bias_patch(subject: Subject, scale: Scale) -> Attacked:
    """Craft the patch on prototypes from the prior; show it on test pictures, and to a sibling network."""
    prior, (pictures, labels) = textural_prior(subject, scale), prototypes(subject, scale)
    mask = torch.ones(1, 1, PATCH, PATCH)

    def objective(values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        rows = torch.randint(len(pictures), (24,), generator=generator)
        laid, _ = apply_patterns(pictures[rows], values[None], mask, PLACEMENT, generator)
        logits = subject.logits(laid)
        success = float((logits.argmax(1) != labels[rows]).float().mean())
        return Outcome(prototype_lead(logits, labels[rows]).mean(), success)

    schedule = Schedule(scale.of(200), 0.03, "adam", seed=scale.seed)
    patch = optimise(objective, lambda generator: prior, schedule)
    made = show_pattern(
        subject.to_attack(scale.pictures), Printed(patch, mask[0], PLACEMENT), target=None, seed=scale.seed
    )
    return Attacked(made.before, made.after, made.own, None, made.printed, made.control, _transfer(subject, made))


def _transfer(subject: Subject, made: Attacked) -> dict[str, object]:
    """The black box: top-1 accuracy of another network of the same classes, without and with the patch."""
    if subject.name not in zoo.names():
        return {}
    sibling = _SIBLINGS[recipe_of(subject.name).dataset]
    path = zoo.load_or_train(sibling, subject.data, subject.zoo, report=lambda line: click.echo(line, err=True))
    radar = OnnxRadar(load_classifier(str(path)), (), session=SessionSettings(threads=1))
    own = made.own.numpy()
    pairs = {"clean": made.before, "grey": made.control, "patched": made.after}
    shares = {k: round(float((classify(radar, v) == own).mean()), 4) for k, v in pairs.items() if v is not None}
    return {"black_box": sibling, "top1": shares}
