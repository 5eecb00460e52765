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
    """Check FILE: every mistake on a line of its own, with its place. Exit status 78 where there is one."""
    from taintwatch.config.digest import config_hash
    from taintwatch.config.load import load_config, problems, read_text
    from taintwatch_models.errors import ConfigError

    found = problems(read_text(file), file.name)
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
