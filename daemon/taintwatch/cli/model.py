"""`taintwatch model`: prepare a classifier for TaintRadar, and say what is known of one."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from taintwatch.cli.model_export import export_command
from taintwatch_models.errors import ModelError, UsageError

__all__ = ["model_group"]

PARITY_INPUTS = 32


@click.group("model")
def model_group() -> None:
    """Prepare and inspect classifiers."""


model_group.add_command(export_command)


@model_group.command("prepare")
@click.argument("model")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write the graph to this file.  [default: MODEL.radar.onnx beside the model]",
)
@click.option("--preprocessing", help="Read how pictures become input from this TOML.  [default: the one beside it]")
@click.option("--labels", help="Read class names from this JSON list or text file.")
@click.option("--output", help="Take the logits from this output, where the model has several.")
@click.option("--size", metavar="HEIGHTxWIDTH", help="Take pictures of this size, where the model says none.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON in place of the table.")
def prepare_command(
    model: str,
    out: Path | None,
    preprocessing: str | None,
    labels: str | None,
    output: str | None,
    size: str | None,
    as_json: bool,
) -> None:
    """Split MODEL at its last maps, transpose its head and write one radar graph.

    MODEL is an ONNX file, torchvision:NAME, torchvision:NAME@WEIGHTS.pth or a TorchScript file. The graph is checked
    against the model's own logits, and where torch is installed against autograd, on 32 inputs.
    """
    from taintwatch_models.graph.logits_parity import logits_difference
    from taintwatch_models.graph.prepare import prepare_lightly
    from taintwatch_models.graph.verification import autograd_difference, check_inputs
    from taintwatch_models.model_description import describe
    from taintwatch_models.model_files import is_torch
    from taintwatch_models.model_source import read_source
    from taintwatch_models.radar_file import write_radar

    console = Console(stderr=True, quiet=as_json)
    with console.status("preparing ..."):
        description = describe(Path(model), preprocessing, labels)
        if is_torch(model):
            _torch_or_complain(model)
            from taintwatch_models.torch_models import read_torch

            source, description = read_torch(model, description)
            folder = Path.cwd() if ":" in model else Path(model).parent
        else:
            source = read_source(Path(model))
            folder = Path(model).parent
        target = out or folder / f"{source.name}.radar.onnx"
        if not target.parent.is_dir():
            raise UsageError(f"{target}: its folder does not exist; name another with --out")
        prepared = prepare_lightly(source, description, output=output, size=None if size is None else _pair(size))
        console.print(f"checking against the model on {PARITY_INPUTS} inputs ...")
        inputs = check_inputs(prepared.radar.info.preprocessing, PARITY_INPUTS)
        logits = logits_difference(source, prepared.plain, prepared.radar.proto, inputs)
        gradients = autograd_difference(prepared, inputs) if find_spec("torch") else None
        write_radar(prepared.radar, target)
    info = prepared.radar.info
    found = {"file": str(target), "parity_inputs": PARITY_INPUTS, "logits_difference": logits,
             "autograd_difference": gradients, **asdict(info)}  # fmt: skip
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table(show_header=False, box=None)
    table.add_row("last maps", f"{info.channels} x {info.cells[0]} x {info.cells[1]}, '{info.maps}'")
    table.add_row("layer", f"'{info.convolution}'")
    table.add_row("head", info.head)
    table.add_row("classes", str(info.classes))
    table.add_row("preprocessing", _declared(info.declared, info.preprocessing.size))
    for note in info.notes:
        table.add_row("note", note)
    table.add_row("logits", f"equal to the model's within {logits:.1e} of their range, {PARITY_INPUTS} inputs")
    said = (
        "not checked (torch is not installed)" if gradients is None else f"equal to autograd's within {gradients:.1e}"
    )
    table.add_row("gradients", said)
    table.add_row("written", f"{target} ({target.stat().st_size / 1e6:.1f} MB)")
    Console().print(table)


def _pair(size: str) -> tuple[int, int]:
    height, _, width = size.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"--size {size}: write HEIGHTxWIDTH, such as 224x224")
    return int(height), int(width)


def _declared(declared: bool, size: tuple[int, int]) -> str:
    how = "as declared" if declared else "NOT declared: RGB in [-1, 1] is assumed; write a TOML beside the model"
    return f"{size[0]} x {size[1]} pixels, {how}"


def _torch_or_complain(model: str) -> None:
    if find_spec("torch") is None or find_spec("torchvision") is None:
        raise ModelError(f"{model} needs torch and torchvision; install them with: pip install 'taintwatch[torch]'")


@model_group.command("show")
@click.argument("model", type=click.Path(path_type=Path))
def show(model: Path) -> None:
    """Print the metadata of a prepared MODEL as JSON."""
    from taintwatch_models.radar_file import metadata, read_radar

    click.echo(json.dumps(metadata(read_radar(model).info), indent=2))


@model_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_models(as_json: bool) -> None:
    """List the bundled model and the torchvision networks that `model prepare` accepts."""
    bundled = _bundled()
    networks = _torchvision_names()
    if as_json:
        click.echo(json.dumps({"bundled": bundled, "torchvision": networks}))
        return
    console = Console()
    if bundled is None:
        console.print("bundled: none in this installation")
    else:
        console.print(f"bundled (the default): {bundled['name']}, {bundled['classes']} classes, {bundled['size']}")
    if networks is None:
        console.print("torchvision: not installed; pip install 'taintwatch[torch]' adds its networks")
        return
    console.print(f"torchvision ({len(networks)}; weights are downloaded on first use): prepare one with")
    console.print("  taintwatch model prepare torchvision:NAME", highlight=False)
    console.print(", ".join(networks), highlight=False)


def _bundled() -> dict[str, object] | None:
    from taintwatch_models.bundled import bundled_radar

    try:
        info = bundled_radar().info
    except ModelError:
        return None
    size = f"{info.preprocessing.size[0]} x {info.preprocessing.size[1]} pixels"
    return {"name": info.name, "classes": info.classes, "size": size, "sha256": info.source_sha256}


def _torchvision_names() -> list[str] | None:
    if find_spec("torchvision") is None:
        return None
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))
