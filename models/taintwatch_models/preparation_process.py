"""Preparing a classifier in a process of its own, which can be ended whatever native code does in it.

Such code may keep every other thread waiting, take all the memory, or end its process. None of that may happen to a
daemon that is asked to reload.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from taintwatch_models.errors import ModelError, TaintwatchError
from taintwatch_models.graph.prepare import prepare_lightly
from taintwatch_models.graph.time_box import PREPARE_S, too_long
from taintwatch_models.model_files import ModelSettings, read_model
from taintwatch_models.radar_file import RadarFile, read_radar, write_radar

__all__ = ["main", "prepare_apart"]

REFUSED = 65  # exit status: its output says why
LARGEST_REASON = 2000  # characters


def prepare_apart(settings: ModelSettings) -> RadarFile:
    """Prepare the plain model that the settings name in a process of its own, which is killed after `PREPARE_S`.

    Where memory runs out, that process goes first. Raises `ModelError`, also where native code ended the process.
    """
    asked = {
        "path": settings.path,
        "preprocessing": settings.preprocessing,
        "labels": settings.labels,
        "output": settings.output,
        "size": settings.size,
    }
    with tempfile.TemporaryDirectory(prefix="taintwatch-prepare-") as folder:
        target = Path(folder) / "prepared.radar.onnx"
        command = [sys.executable, "-m", __name__, str(target)]
        try:
            done = subprocess.run(
                command, input=json.dumps(asked), capture_output=True, text=True, timeout=PREPARE_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ModelError(too_long(str(settings.path), PREPARE_S)) from None
        if done.returncode == 0:
            return read_radar(target)
        if done.returncode == REFUSED:
            raise ModelError(done.stdout[:LARGEST_REASON])
        raise ModelError(f"{settings.path}: cannot be prepared; the process {_end(done.returncode)}")


def _end(status: int) -> str:
    if status >= 0:
        return f"that did it ended with status {status}"
    return f"that did it was ended by {signal.Signals(-status).name} (no memory left, or the file is damaged)"


def main() -> int:
    """Prepare what standard input names; write it to the path that is the only argument."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    asked = json.load(sys.stdin)
    size = None if asked["size"] is None else (int(asked["size"][0]), int(asked["size"][1]))
    settings = ModelSettings(**(asked | {"size": size}))
    try:
        model = read_model(settings)
        if not isinstance(model, RadarFile):
            model = prepare_lightly(*model, output=settings.output, size=size).radar
        write_radar(model, Path(sys.argv[1]))
    except TaintwatchError as error:
        sys.stdout.write(str(error))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
