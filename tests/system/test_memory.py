"""A run of any length needs the memory of a short one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.system.program import ENVIRONMENT, PATIENCE_S
from tests.tiny_model import footage, write_model, write_video

SHORT, LONG = 500, 4000
ALLOWED_GROWTH = 1.05

# Both runs in one process, so that what the first leaves behind counts too.
SCRIPT = """
import json, sys
from pathlib import Path
from taintwatch.cli.main import main

def peak_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

peaks = []
for frames in map(int, sys.argv[3:]):
    run = ["run", "--source", sys.argv[1], "--loop", "--model", sys.argv[2], "--bind", "tcp://127.0.0.1:*", "--quiet"]
    assert main([*run, "--max-frames", str(frames)]) == 0
    peaks.append(peak_kib())
print(json.dumps(peaks))
"""


def test_the_peak_of_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    video = write_video(tmp_path / "walk.mp4", footage(60, range(20, 40)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(video), str(model), str(SHORT), str(LONG)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    short, long = json.loads(done.stdout.splitlines()[-1])
    assert long <= short * ALLOWED_GROWTH
