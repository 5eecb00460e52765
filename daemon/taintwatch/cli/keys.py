"""`taintwatch keys`: make CURVE keys, and say which clients may connect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["keys_group"]


@click.group(name="keys")
def keys_group() -> None:
    """Make keys for encrypted alerts; allow and revoke clients.

    The daemon and each client have a key pair of their own. The daemon lets in only the clients on its list, and looks
    at it about once a second: nothing has to be restarted.
    """


def _clients_options(command: Callable[..., Any]) -> Callable[..., Any]:
    clients = click.option(
        "--clients",
        type=click.Path(path_type=Path),
        help="Use this folder of allowed clients' keys.  [default: ./clients]",
    )
    config = click.option(
        "--config", type=click.Path(path_type=Path), help="Take the folder from this configuration's [publish.curve]."
    )
    return clients(config(command))


@keys_group.command()
@click.argument("name")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(), help="Write them to this folder.  [default: here]"
)
def new(name: str, folder: Path) -> None:
    """Make a key pair: NAME.key to give away, and NAME.key_secret (readable by you alone) to keep."""
    from taintwatch.alerts.keys import make_key_pair

    public_path, secret_path, public = make_key_pair(name, folder)
    click.echo(f"secret key: {secret_path} (keep it; mode 0600)")
    click.echo(f"public key: {public_path}")
    click.echo(public)


@keys_group.command(name="list")
@_clients_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_clients(clients: Path | None, config: Path | None, as_json: bool) -> None:
    """List the clients that may connect: name and public key."""
    from taintwatch.alerts.keys import AllowedClients

    allowed = AllowedClients(_folder(clients, config))
    allowed.check()
    found = sorted((name, public) for public, name in allowed.keys().items())
    if as_json:
        click.echo(json.dumps([{"name": name, "public_key": public} for name, public in found]))
        return
    for name, public in found:
        click.echo(f"{public}  {name}")
    if not found:
        click.echo("nobody may connect", err=True)


@keys_group.command()
@click.argument("key")
@click.option("--name", help="Give the client this name.  [default: that of the key file]")
@_clients_options
def allow(key: str, name: str | None, clients: Path | None, config: Path | None) -> None:
    """Let a client in. KEY is its .key file, or the public key itself (then with --name)."""
    from taintwatch.alerts.keys import AllowedClients, check_public, load_public
    from taintwatch_models.errors import UsageError

    file = Path(key)
    if file.is_file():
        public, name = load_public(file), name or file.stem
    elif file.suffix.startswith(".key"):
        raise UsageError(f"{key}: no such file.")
    else:
        public = check_public(key)
    if name is None:
        raise UsageError("Give the client a name with --name.")
    folder = _folder(clients, config)
    AllowedClients(folder).allow(name, public)
    click.echo(f"{name} may connect ({folder})")


@keys_group.command()
@click.argument("name")
@_clients_options
def revoke(name: str, clients: Path | None, config: Path | None) -> None:
    """Shut a client out: a running daemon ends its connection within about a second."""
    from taintwatch.alerts.keys import AllowedClients

    folder = _folder(clients, config)
    AllowedClients(folder).revoke(name)
    click.echo(f"{name} may not connect any more ({folder})")


def _folder(clients: Path | None, config: Path | None) -> Path:
    """Return the folder of allowed clients. Raises `UsageError` where both are given, or the configuration has none."""
    from taintwatch_models.errors import UsageError

    if config is None:
        return clients or Path("clients")
    if clients is not None:
        raise UsageError("Give --clients or --config, not both.")
    from taintwatch.config.load import load_config

    found = load_config(config).publish.curve.clients
    if found is None:
        raise UsageError(f"{config} names no folder of clients in [publish.curve].")
    return Path(found)
