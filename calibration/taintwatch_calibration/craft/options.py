"""The options that all commands of `taintwatch craft` share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from taintwatch_models.errors import UsageError

__all__ = ["KIND_DEFAULTS", "numbers", "physical_options", "shared_options", "tell"]

_F = TypeVar("_F", bound=Callable[..., Any])

_SHARED = (
    click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model."),
    click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of pictures to attack."),
    click.option(
        "--labels", type=click.Path(path_type=Path), help="CSV (file, class_index); default: IMAGES/labels.csv."
    ),
    click.option("--class-names", help="The model's class names: a JSON list or a text file."),
    click.option("--preprocessing", help="The model's TOML; default: the one beside it."),
    click.option("--calibration", help="Thresholds to judge by; default: those beside the model."),
    click.option("--target", help="Class to be seen, name or index, or high-rank; none: any wrong one."),
    click.option("--max-images", "most", default=0, show_default=True, help="Use so many of the pictures; 0: all."),
    click.option(
        "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the result."
    ),
    click.option("--seed", default=0, show_default=True, help="Seed of all random numbers."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Compute with Torch there.",
    ),
    click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="CPU threads."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON."),
)

KIND_DEFAULTS: dict[str, dict[str, str]] = {
    "patch": {"loss": "softmax", "smoothness": "0", "printability": "0", "camera": "none", "rotation": "20",
              "stop_at": "never", "size": "0.3", "position": "anywhere"},
    "lavan": {"loss": "lavan", "smoothness": "0", "printability": "0", "camera": "none", "rotation": "0",
              "stop_at": "never", "size": "0.2", "position": "0.12,0.12"},
    "sticker": {"loss": "softmax", "smoothness": "0.05", "printability": "0.1", "camera": "a mild one",
                "rotation": "4", "stop_at": "never", "size": "1", "position": "anywhere"},
    "hat": {"loss": "softmax", "smoothness": "0.05", "printability": "0", "camera": "none", "rotation": "4",
            "stop_at": "never", "size": "0.55", "position": "0.5,0.16"},
    "glasses": {"loss": "softmax", "smoothness": "0.15", "printability": "0.05", "camera": "none", "rotation": "2",
                "stop_at": "0.99", "size": "1", "position": "anywhere"},
}  # fmt: skip
"""What each kind does where an option is not given, as its help says it; `kinds.KINDS` has the values themselves."""


def _physical(known: dict[str, str]) -> tuple[Callable[[_F], _F], ...]:
    def of(words: str, name: str) -> str:
        return f"{words}  [default: {known[name]}]"

    return (
        click.option("--iterations", type=click.IntRange(min=1), help="Steps.  [default: 300]"),
        click.option("--batch", type=click.IntRange(min=1), help="Pictures in each step.  [default: 16]"),
        click.option("--step", type=click.FloatRange(min=0, min_open=True),
                     help="Size of the first step.  [default: 8/255]"),
        click.option("--rule", type=click.Choice(["sign", "adam", "sgd"]), help="Rule of the steps.  [default: sign]"),
        click.option("--stop-at", type=click.FloatRange(0, 1),
                     help=of("Stop at this success over ten steps.", "stop_at")),
        click.option("--loss", type=click.Choice(["softmax", "lead", "lavan"]), help=of("The loss.", "loss")),
        click.option("--smoothness", type=click.FloatRange(min=0),
                     help=of("Weight of the total variation.", "smoothness")),
        click.option("--printability", type=click.FloatRange(min=0),
                     help=of("Weight of the non-printability score.", "printability")),
        click.option("--nps", "nps_rule", type=click.Choice(["nearest", "product"]),
                     help="Use this non-printability score.  [default: nearest]"),
        click.option("--norm", type=click.FloatRange(min=0),
                     help="Weight of the change's length: RP2's norm.  [default: 0]"),
        click.option("--profile", help="Colour profile of printer and camera (JSON), or generic.  [default: none]"),
        click.option("--camera", help=of("Camera to survive: office, corridor, street, dim, or none.", "camera")),
        click.option("--rotation", type=click.FloatRange(0, 180),
                     help=of("Largest turn to either side, degrees.", "rotation")),
        click.option("--adaptive", type=click.Choice(["tight", "paper", "misleading"]),
                     help="Also evade this detector.  [default: none]"),
        click.option("--lambda", "weight", default=1.0, show_default=True, help="Weight of evading the detector."),
    )  # fmt: skip


def shared_options(command: _F) -> _F:
    """Add what every kind takes."""
    return _add(command, _SHARED)


def physical_options(kind: str) -> Callable[[_F], _F]:
    """Return a decorator that adds what every printed kind takes, with this kind's defaults in the help."""
    return lambda command: _add(command, (*_SHARED, *_physical(KIND_DEFAULTS[kind])))


def numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    """Parse `1,2,3`. Raises `UsageError` naming the option."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise UsageError(f"{option} must be {count} numbers with commas between, not {text!r}")
    return values


def tell(result: dict[str, Any], *, as_json: bool) -> None:
    """Print what was crafted: one line of JSON, or sentences."""
    if as_json:
        click.echo(json.dumps(result))
        return
    pictures, target = result["pictures"], result["target"]
    wanted = f"as {target['name']!r}" if target["name"] is not None else "as anything else"
    share = f"{result['success_rate']:.1%} of {result['attempts']}"
    if "faintness" in result:
        share += " pictures"
    elif result["held_out"]:
        share += " attempts on pictures that it was not crafted on"
    else:
        share += " attempts, on the pictures that it was crafted on: too few to hold some out"
    text = f"{result['folder']}: seen {wanted} in {share}"
    if pictures["wrong_and_skipped"]:
        text += f"; {pictures['wrong_and_skipped']} pictures skipped, which the model gets wrong without it"
    if "faintness" in result:
        faint = result["faintness"]
        text += f"; mean change: l2 {faint['l2']:.3f}, largest {faint['linf']:.4f}, SSIM {faint['ssim']:.4f}"
    console = Console()
    console.print(text, soft_wrap=True, highlight=False)
    if not result["calibrated"]:
        console.print("  what the detectors see is not said: their thresholds are not calibrated for this model; run "
                      "`taintwatch calibrate thresholds` first", soft_wrap=True, highlight=False)  # fmt: skip
        return
    for name, seen in result["detected"].items():
        console.print(f"  {name} sees {seen:.1%} of the successful ones; "
                      f"{result['evasion_rate'][name]:.1%} of all attempts "
                      "succeed unseen", soft_wrap=True, highlight=False)  # fmt: skip


def _add(command: _F, options: tuple[Callable[[_F], _F], ...]) -> _F:
    for option in reversed(options):
        command = option(command)
    return command
