"""`taintwatch craft region|digital`: changes of single pictures, each its own; not to print."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console

from taintwatch_calibration.craft.options import shared_options, tell
from taintwatch_models.errors import UsageError

__all__ = ["digital", "region"]


@click.command()
@shared_options
@click.option("--threshold", default=0.2, show_default=True, help="Of Grad-CAM's maximum: below, nothing is changed.")
@click.option("--inverse-temperature", default=1.0, show_default=True, help="T: multiplies the logits.")
@click.option("--beta", default=10.0, show_default=True, help="Weight of fooling against staying faint.")
@click.option("--iterations", default=60, show_default=True, type=click.IntRange(min=1))
@click.option("--step", default=0.01, show_default=True, help="SGD's learning rate.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1))
def region(
    threshold: float, inverse_temperature: float, beta: float, iterations: int, step: float, batch: int, **given: Any
) -> None:
    """Change each picture faintly, just where its label rests (contributing feature regions)."""
    from taintwatch_calibration.craft.region import RegionRecipe, region_attack
    from taintwatch_calibration.craft.session import finish_pictures, watched
    from taintwatch_calibration.torch_tuning import denormals_flushed

    if given["target"] is not None:
        raise UsageError("the region attack takes no target; leave --target out")
    recipe = RegionRecipe(threshold, inverse_temperature, beta, iterations, step, batch, given["seed"])
    session = _session(given)
    pictures = session.pictures(session.usable)
    batches = -(-len(pictures) // batch)
    with denormals_flushed(), watched("region", iterations * batches, session.folder, Console(stderr=True)) as told:
        made = region_attack(session.model, pictures, session.preprocessing, recipe, report=told)
    tell(finish_pictures(session, "region", made.pixels, recipe, masks=made.masks), as_json=given["as_json"])


@click.command()
@shared_options
@click.option("--attack", required=True, help="fgsm, pgd, cw, ead, zoo, boundary, or an evasion attack of ART by name.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of ART's; repeat.")
def digital(attack: str, settings: tuple[str, ...], **given: Any) -> None:
    """Change each picture by an attack of the Adversarial Robustness Toolbox."""
    from taintwatch_calibration.craft.digital import attack_names, digital_attack
    from taintwatch_calibration.craft.session import finish_pictures
    from taintwatch_calibration.torch_tuning import denormals_flushed

    chosen = dict(_setting(text) for text in settings)
    attack_names()  # says so where ART is missing, before anything is loaded
    session = _session(given)
    console = Console(stderr=True)
    with denormals_flushed(), console.status(f"ART: {attack} on {len(session.usable)} pictures"):
        made = digital_attack(
            attack, session.model, session.pictures(session.usable), session.preprocessing, session.radar.info.classes,
            target=session.target, settings=chosen, device=session.device, seed=given["seed"],
        )  # fmt: skip
    tell(finish_pictures(session, "digital", made, {"attack": attack, "settings": chosen}), as_json=given["as_json"])


def _session(given: dict[str, Any]) -> Any:
    from taintwatch_calibration.craft.session import Session, SessionOptions

    return Session(SessionOptions(**{name: value for name, value in given.items() if name != "as_json"}))


def _setting(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE, the value as JSON where it is. Raises `UsageError`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set takes KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
