"""`taintwatch calibrate sign` and `verify`: approve a model and all that belongs to it; see that it is unchanged."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taintwatch.evidence.chain import Signer
from taintwatch_models.errors import UsageError
from taintwatch_models.manifest import manifest_path, model_parts, unsigned_parts, write_manifest
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.signatures import read_public

__all__ = ["sign", "verify"]


def _files(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--cmag", help="CMAG's reconstructors.  [default: those beside the model]"),
        click.option("--reference", help="The reference that was learnt.  [default: the file beside the model]"),
        click.option("--calibration", help="Thresholds.  [default: those beside the model]"),
        click.option("--labels", help="Class names, where the model's TOML does not name them."),
        click.option("--preprocessing", help="The model's TOML.  [default: the one beside it]"),
        click.option("--model", help="ONNX, torch or prepared model.  [default: the bundled one, which needs none]"),
    ):
        command = option(command)
    return command


@click.command()
@_files
@click.option(
    "--key", type=click.Path(path_type=Path), required=True, help="Your signing key; made where it is not there."
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest's path and files as JSON.")
def sign(key: Path, as_json: bool, **named: Any) -> None:
    """Sign a model, and all that is read with it, as it is now: MODEL.manifest.json beside it.

    Give the public key, KEY.pub, to the machines that are to run it: `signed_by` in their [model].
    """
    settings = ModelSettings(path=named.pop("model"), **named)
    parts = model_parts(settings)
    if not parts:
        raise UsageError("there is nothing to sign; name a model, or a calibration or reference of your own")
    path = manifest_path(settings)
    signer = Signer.of(key.absolute())
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest = write_manifest(path, parts, created, signer.sign)
    if as_json:
        click.echo(json.dumps({"manifest": str(path), "files": dict(manifest.files), "public_key": signer.public}))
        return
    for name, digest in manifest.files.items():
        click.echo(f"{digest[:16]}  {name}")
    click.echo(f"signed: {path}; the public key is {key.with_suffix('.pub')}")


@click.command()
@_files
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The public key (.pub) that must fit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(key: Path, as_json: bool, **named: Any) -> int:
    """Verify that a model, and all that is read with it, is what was signed. Exit with status 1 where it is not."""
    settings = ModelSettings(path=named.pop("model"), **named)
    parts = model_parts(settings)
    path = manifest_path(settings)
    wrong = unsigned_parts(path, parts, read_public(key))
    if as_json:
        click.echo(json.dumps({"manifest": str(path), "files": [str(part) for part in parts], "findings": list(wrong)}))
    else:
        for sentence in wrong:
            click.echo(sentence)
        click.echo(f"{len(parts) - len(wrong)} of {len(parts)} files are what was signed")
    return 1 if wrong else 0
