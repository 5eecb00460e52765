"""Files for their owner alone, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PART", "write_private"]

PART = ".part"
"""What the name of a file ends with while it is written."""


def write_private(path: Path, content: bytes) -> None:
    """Write a file 0600, in a folder 0700, whole or not at all. Raises `OSError`.

    Not flushed: a power cut may take a picture, never the alert itself. What root writes gets the folder's owner: the
    daemon must be able to read what an administrator said.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _hand_over(path.parent, path.parent.parent)
    temporary = path.with_name(path.name + PART)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        _hand_over(temporary, path.parent)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _hand_over(path: Path, like: Path) -> None:
    owner = like.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
