"""Which code a row was measured with: a digest of all that decides what is prepared and what is right."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

import taintwatch_models

__all__ = ["code_digest"]

_MODELS = Path(taintwatch_models.__file__).parent
_BESIDE_GRAPH = ("fills", "model_source", "torch_graph", "torch_ops", "torch_radar", "torch_shape_ops")
_HERE = ("exports", "keras_exports", "rows", "torch_networks")
_DIGITS = 12


@cache
def code_digest() -> str:
    """Return a short digest of the preparation, the oracle and this bench; comments and docstrings do not count."""
    files = sorted(path for path in (_MODELS / "graph").glob("*.py"))
    files += [_MODELS / f"{name}.py" for name in _BESIDE_GRAPH] + [Path(__file__).with_name(f"{n}.py") for n in _HERE]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + _meaning(path.read_text()).encode())
    return digest.hexdigest()[:_DIGITS]


def _meaning(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
