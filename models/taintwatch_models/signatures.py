"""Ed25519 signatures (RFC 8032): public keys as 32 bytes in base64, signatures in base64."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import read_bounded

__all__ = ["check_signature", "read_public"]

LARGEST = 1000  # bytes


def read_public(path: Path) -> str:
    """Return the public key (base64) in a `.pub` file. Raises `UsageError`."""
    try:
        text = read_bounded(path, LARGEST).decode("ascii").strip()
        Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} holds no public signing key: give the .pub file that lies beside the key (of a daemon: "
            "signing.pub in its evidence folder)."
        ) from error
    return text


def check_signature(public: str, text: str, signature: str) -> bool:
    """Whether the holder of this key signed this text."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
