"""Detectors of others, to compare with: loaded from a folder of code that is named, never found by itself."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from taintwatch_models.errors import UsageError

__all__ = ["peer_factories"]


def peer_factories(folder: Path | None, wanted: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Return the named peers of a package's `PEERS` (all where none is named); none without a folder.

    The folder is imported as a package inside its parent's, `benchmarks/peers` as `benchmarks.peers`. Raises
    `UsageError` where there is no such package or peer.
    """
    if folder is None:
        if wanted:
            raise UsageError(
                f"--peer {wanted[0]}: say with --peers FOLDER where peers are, for example benchmarks/peers"
            )
        return {}
    package = folder.resolve()
    if not (package / "__init__.py").is_file():
        raise UsageError(f"--peers {folder}: no package of detectors is there (no __init__.py)")
    root = str(package.parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    module = importlib.import_module(f"{package.parent.name}.{package.name}")
    known: dict[str, Callable[..., Any]] = dict(getattr(module, "PEERS", {}))
    missing = [name for name in wanted if name not in known]
    if missing or not known:
        raise UsageError(
            f"there is no peer '{(missing or ['?'])[0]}' in {folder}; there are {', '.join(known) or 'none'}"
        )
    return {name: known[name] for name in (wanted or known)}
