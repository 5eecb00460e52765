"""The digital attacks that CMAG is measured against, made with ART (Nicolae et al., 2018)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from taintwatch_models.errors import UsageError

__all__ = ["ATTACKS", "Attack", "attack_images"]


@dataclass(frozen=True, slots=True)
class Attack:
    """`fgsm`: strength is the largest change of a pixel in [0, 1]. `cw` (l2): strength is the confidence (kappa)."""

    kind: str
    strength: float


ATTACKS = (*(Attack("fgsm", e) for e in (0.1, 0.2, 0.3)), *(Attack("cw", k) for k in (9.0, 19.0, 29.0)))


def attack_images(
    net: nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    attack: Attack,
    *,
    iterations: int = 80,
    searches: int = 3,
) -> NDArray[np.float32]:
    """Return the attacked images, (N, channels, H, W) float32 in [0, 1]; whether each succeeded is for the caller.

    Untargeted, with the true labels. `iterations` and `searches` are C&W's per binary-search step, and their number.
    Raises `UsageError` where ART is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ART and its dependencies warn of their own internals on import
            from art.attacks.evasion import CarliniL2Method, FastGradientMethod
            from art.estimators.classification import PyTorchClassifier
    except ImportError:
        raise UsageError(
            "the digital attacks need ART; install it with: pip install adversarial-robustness-toolbox"
        ) from None

    gradients = _Gradients(net)

    class Classifier(PyTorchClassifier):  # type: ignore[misc]
        """ART takes one backward pass for each class that occurs; pictures do not depend on each other, so one does."""

        def class_gradient(
            self, x: NDArray[np.float32], label: Any = None, training_mode: bool = False, **kwargs: Any
        ) -> NDArray[np.float32]:
            if not isinstance(label, np.ndarray):
                result: NDArray[np.float32] = super().class_gradient(x, label, training_mode, **kwargs)
                return result
            return gradients(x, label)

    classifier = Classifier(
        model=net,
        loss=nn.CrossEntropyLoss(),
        input_shape=images.shape[1:],
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu" if not torch.cuda.is_available() else "gpu",
    )
    made: Any
    if attack.kind == "fgsm":
        made = FastGradientMethod(classifier, eps=attack.strength, batch_size=100)
    elif attack.kind == "cw":
        made = CarliniL2Method(
            classifier,
            confidence=attack.strength,
            learning_rate=0.05,
            max_iter=iterations,
            binary_search_steps=searches,
            initial_const=10.0,
            max_halving=3,
            max_doubling=3,
            batch_size=100,
            verbose=False,
        )
    else:
        raise UsageError(f"there is no trial attack '{attack.kind}'; there are fgsm and cw")
    result: NDArray[np.float32] = made.generate(images, y=np.eye(classes, dtype=np.float32)[labels])
    return result.astype(np.float32)


class _Gradients:
    """The gradient of each picture's logit of its own label.

    C&W asks for three labels of the same pictures in a row, the last two alike: they share one forward, and a backward
    each that is different.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._pictures: object = None
        self._inputs, self._logits = torch.empty(0), torch.empty(0)
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def __call__(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (N, 1, channels, H, W)."""
        if images is not self._pictures:
            self._pictures, self._known = images, {}
            self._inputs = torch.from_numpy(np.asarray(images, np.float32)).requires_grad_(True)
            self._logits = self._net(self._inputs)
        wanted = np.asarray(labels, np.int64)
        key = wanted.tobytes()
        if key not in self._known:
            chosen = self._logits.gather(1, torch.from_numpy(wanted)[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, self._inputs, retain_graph=True)
            self._known[key] = gradient.numpy()[:, None]
        return self._known[key].copy()  # ART adds to what it is given
