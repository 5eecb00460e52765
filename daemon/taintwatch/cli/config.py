"""`taintwatch config`: check a file, print the schema, print an example."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["config_group"]


@click.group(name="config")
def config_group() -> None:
    """Check a configuration; print its schema or an example."""


@config_group.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check FILE as `taintwatch run` would: print every mistake on a line of its own, with its place.

    Load the model and run it once; open no camera, bind no address and write nothing. Exit with status 78 where there
    is a mistake.
    """
    from taintwatch.config.digest import config_hash
    from taintwatch.config.load import examine, load_config, read_text
    from taintwatch.preflight import find_mistakes
    from taintwatch_models.errors import ConfigError

    examined = examine(read_text(file), file.name, file.parent)
    found = [sentence for _, sentence in examined.mistakes]
    if examined.config is not None:
        mistakes = find_mistakes(examined.config)
        found += [f"{examined.place(each.key)}: {each.error}" for each in mistakes if not examined.left_out(each.key)]
    if found:
        *first, last = found
        for sentence in first:
            click.echo(f"taintwatch: {sentence}", err=True)
        raise ConfigError(last)
    config = load_config(file)
    cameras = len(config.camera)
    click.echo(f"{file}: good ({cameras} camera{'' if cameras == 1 else 's'}, hash {config_hash(config)[:12]})")


@config_group.command()
def schema() -> None:
    """Print the JSON Schema of a configuration (editors complete and check TOML with it)."""
    from taintwatch.config.sections import Config

    click.echo(json.dumps(Config.model_json_schema(), indent=2))


@config_group.command()
def example() -> None:
    """Print a configuration to start from: every key, its meaning and its default."""
    from taintwatch.config.example import example_toml

    click.echo(example_toml(), nl=False)
