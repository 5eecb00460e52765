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
@click.option("--as-published", "reading", type=click.Choice(["000", "003", "000-literal", "000-once", "003-scaled"]),
              help="A paper's attack instead of ours: 000 (soft mask), 003 (binary), or another reading.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True),
              help="The papers' T.  [default: 0.1 for 000, 0.05 for 003]")  # fmt: skip
@click.option(
    "--threshold",
    default=0.2,
    show_default=True,
    help="Share of Grad-CAM's maximum below which nothing changes.",
)
@click.option("--inverse-temperature", default=1.0, show_default=True, help="Multiply the logits by this (ours alone).")
@click.option("--beta", type=click.FloatRange(min=0, min_open=True),
              help="Weight of fooling against staying faint.  [default: 10, as published 1]")  # fmt: skip
@click.option("--iterations", type=click.IntRange(min=1), help="Steps.  [default: 60, as published 20]")
@click.option("--step", type=click.FloatRange(min=0, min_open=True),
              help="SGD's learning rate.  [default: 0.01, as published 20]")  # fmt: skip
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Pictures at once.")
def region(
    reading: str | None, temperature: float | None, threshold: float, inverse_temperature: float, beta: float | None,
    iterations: int | None, step: float | None, batch: int, **given: Any,
) -> None:  # fmt: skip
    """Change each picture faintly, just where its label rests (contributing feature regions)."""
    from taintwatch_calibration.craft.published_region import PublishedRecipe, published_region_attack
    from taintwatch_calibration.craft.region import RegionRecipe, region_attack
    from taintwatch_calibration.craft.session import finish_pictures, watched
    from taintwatch_calibration.torch_tuning import denormals_flushed

    if given["target"] is not None:
        raise UsageError("the region attack takes no target; leave --target out")
    recipe: RegionRecipe | PublishedRecipe
    if reading is None:
        if temperature is not None:
            raise UsageError("--temperature is the papers': give --as-published too, or --inverse-temperature")
        recipe = RegionRecipe(
            threshold, inverse_temperature, beta or 10.0, iterations or 60, step or 0.01, batch, given["seed"]
        )
    else:
        usual = 0.05 if reading.startswith("003") else 0.1
        recipe = PublishedRecipe(
            reading, step or 20.0, iterations or 20, beta or 1.0, threshold, temperature or usual, batch=batch,
            seed=given["seed"],
        )  # fmt: skip
    session = _session(given)
    pictures = session.pictures(session.usable)
    batches = -(-len(pictures) // batch)
    with (
        denormals_flushed(),
        watched("region", recipe.iterations * batches, session.folder, Console(stderr=True)) as told,
    ):
        if isinstance(recipe, PublishedRecipe):
            made = published_region_attack(session.model, pictures, session.preprocessing, recipe, report=told)
        else:
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
