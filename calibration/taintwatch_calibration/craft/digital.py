"""Digital attacks, made by ART (Nicolae et al., Adversarial Robustness Toolbox, 2018): any of its evasion attacks."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taintwatch_calibration.craft.physical import Model, Pictures, normaliser
from taintwatch_models.errors import TaintwatchError, UsageError
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["DIGITAL", "art_classifier", "attack_names", "digital_attack"]

_SHORT = {"batch_size": 16, "max_iter": 20, "binary_search_steps": 3, "learning_rate": 0.01, "initial_const": 1.0}

DIGITAL: dict[str, tuple[str, dict[str, Any]]] = {
    "fgsm": ("FastGradientMethod", {"eps": 4 / 255}),
    "pgd": ("ProjectedGradientDescentPyTorch", {"eps": 4 / 255, "eps_step": 1 / 255, "max_iter": 20}),
    "cw": ("CarliniL2Method", _SHORT),
    "ead": ("ElasticNet", _SHORT),
    "zoo": ("ZooAttack", {"max_iter": 200, "binary_search_steps": 1, "nb_parallel": 64, "use_resize": False,
                          "use_importance": False, "initial_const": 1.0, "learning_rate": 0.1}),
    "boundary": ("BoundaryAttack", {"max_iter": 200, "num_trial": 10, "init_size": 50}),
}  # fmt: skip
"""Short names with ART's own and the settings used here; `--set` changes them."""


def attack_names() -> tuple[str, ...]:
    """Return every name that `digital_attack` takes. Raises `UsageError` where ART is not installed."""
    module = _evasion()
    base = module.EvasionAttack if hasattr(module, "EvasionAttack") else _base()
    classes = inspect.getmembers(module, inspect.isclass)
    return (*DIGITAL, *sorted(name for name, kind in classes if issubclass(kind, base) and kind is not base))


def art_classifier(model: Model, preprocessing: Preprocessing, classes: int, device: str = "cpu") -> Any:
    """Return ART's wrapper of a classifier that takes RGB in [0, 1]."""
    _evasion()
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=_OfPixels(model, preprocessing, device),
        loss=nn.CrossEntropyLoss(),
        input_shape=(3, *preprocessing.size),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.startswith("cuda") else "cpu",
    )


def digital_attack(
    name: str,
    model: Model,
    pictures: Pictures,
    preprocessing: Preprocessing,
    classes: int,
    *,
    target: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Tensor:
    """Return attacked pictures, (N, 3, H, W) RGB in [0, 1]; whether each succeeds is for the caller.

    `name` is one of `DIGITAL` or the class's in `art.attacks.evasion`; `settings` are that class's. Raises `UsageError`
    for an unknown attack or setting, a target that the attack cannot take, or where ART is not installed;
    `TaintwatchError` where ART fails.
    """
    kind, chosen = _attack(name, settings or {}, targeted=target is not None)
    np.random.seed(seed)  # ART draws from numpy's global generator
    torch.manual_seed(seed)
    labels = pictures.own if target is None else torch.full_like(pictures.own, target)
    one_hot = np.eye(classes, dtype=np.float32)[labels.cpu().numpy()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ART warns of its own internals
            made = kind(art_classifier(model, preprocessing, classes, device), **chosen)
            attacked = made.generate(x=pictures.pixels.cpu().numpy(), y=one_hot)
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise TaintwatchError(
            f"ART's {kind.__name__} cannot do this ({first}); change its settings with --set"
        ) from error
    return torch.from_numpy(np.asarray(attacked, np.float32)).clamp(0, 1)


def _attack(name: str, settings: Mapping[str, Any], *, targeted: bool) -> tuple[type[Any], dict[str, Any]]:
    """Return ART's class and its settings. Raises `UsageError`."""
    names = attack_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"try {', '.join(DIGITAL)}"
        raise UsageError(f"ART has no evasion attack {name!r}; {hint}")
    title, defaults = DIGITAL.get(name, (name, {}))
    kind = getattr(_evasion(), title)
    known = {
        key for key in inspect.signature(kind.__init__).parameters if key not in ("self", "estimator", "classifier")
    }
    for key in settings:
        if key not in known:
            raise UsageError(f"ART's {title} has no setting {key!r}; it has {', '.join(sorted(known))}")
    chosen = {**defaults, **settings}
    if "targeted" in known:
        chosen["targeted"] = targeted
    elif targeted:
        raise UsageError(f"ART's {title} cannot be given a target; leave --target out")
    if "verbose" in known:
        chosen.setdefault("verbose", False)
    return kind, chosen


def _evasion() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.attacks import evasion
    except ImportError:
        raise UsageError("the digital attacks need ART; install it with: pip install 'taintwatch[torch]'") from None
    module: ModuleType = evasion
    return module


def _base() -> type[Any]:
    from art.attacks.attack import EvasionAttack

    base: type[Any] = EvasionAttack
    return base


class _OfPixels(nn.Module):
    """The classifier with its normalisation before it."""

    def __init__(self, model: Model, preprocessing: Preprocessing, device: str) -> None:
        super().__init__()
        self._model = model
        self._normalise = normaliser(preprocessing, device)

    def forward(self, pixels: Tensor) -> Tensor:
        return self._model.head(self._model.maps(self._normalise(pixels.float())))  # some of ART's work in float64
