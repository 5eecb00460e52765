"""Nothing that runs a model tells anybody else about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tiny_model import write_model

SCRIPT = """
import sys
from pathlib import Path
from taintwatch_models.onnx_session import SessionSettings, open_session

session, _ = open_session(Path(sys.argv[1]).read_bytes(), SessionSettings(device="cpu"))
print(session.get_providers())
"""


def test_running_a_model_leaves_nothing_in_the_home_folder_for_the_runtime_to_send(tmp_path: Path) -> None:
    model, home = write_model(tmp_path / "tiny.onnx"), tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=environment | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home)},
    )
    assert "CPUExecutionProvider" in done.stdout, done.stderr
    assert sorted(home.rglob("*")) == []
