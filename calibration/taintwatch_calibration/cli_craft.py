"""`taintwatch craft`: make attacks, to print or digital."""

from __future__ import annotations

import click

from taintwatch.cli.lazy import LazyCommand, LazyGroup

__all__ = ["craft_group"]

_PHYSICAL = "taintwatch_calibration.craft.cli_physical"
_DIGITAL = "taintwatch_calibration.craft.cli_digital"

COMMANDS = {
    "patch": LazyCommand(f"{_PHYSICAL}:patch", "A universal patch: anywhere on any picture."),
    "lavan": LazyCommand(f"{_PHYSICAL}:lavan", "A small patch for one place off the object."),
    "sticker": LazyCommand(f"{_PHYSICAL}:sticker", "Stickers on an object."),
    "hat": LazyCommand(f"{_PHYSICAL}:hat", "A sticker on a hat, bent around the head."),
    "glasses": LazyCommand(f"{_PHYSICAL}:glasses", "Eyeglasses: impersonation or dodging."),
    "object": LazyCommand(
        "taintwatch_calibration.craft.cli_object_patch:object_patch",
        "A patch or camouflage against an object detector.",
    ),
    "region": LazyCommand(f"{_DIGITAL}:region", "A faint change of just the region that each label rests on."),
    "digital": LazyCommand(f"{_DIGITAL}:digital", "Any evasion attack of the Adversarial Robustness Toolbox."),
}


@click.group(name="craft", cls=LazyGroup, lazy_commands=COMMANDS)
def craft_group() -> None:
    """Craft attacks on a classifier, to test what it and the detectors make of them.

    Needs the extra `torch`. Each result is a folder: pictures, masks, a recipe with every setting and hash, a preview.
    An interrupted run goes on where it was when it is started again with the same settings.
    """
