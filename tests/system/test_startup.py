"""What a run with an ONNX model loads, and what it leaves alone: a start must not pay for what is not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.tiny_model import footage, write_model, write_video

HEAVY = ("torch", "torchvision", "onnxscript", "ray", "art", "matplotlib", "scipy", "skimage", "reportlab")


def imported(code: str, cwd: Path) -> set[str]:
    """Run `code` in a fresh interpreter and return the top-level modules that it imported."""
    report = "; import sys; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=False, timeout=100, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def test_a_run_with_an_onnx_model_imports_no_torch_and_nothing_of_the_bench(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx")
    write_video(tmp_path / "v.mp4", footage(5))
    arguments = ["run", "--source", "v.mp4", "--model", "m.onnx", "--bind", "tcp://127.0.0.1:*", "--json", "--quiet"]
    code = f"from taintwatch.cli.main import main; assert main({arguments!r}) == 0"
    modules = imported(code, tmp_path)
    assert "onnxruntime" in modules
    assert modules.isdisjoint(HEAVY)


def test_the_package_itself_imports_next_to_nothing(tmp_path: Path) -> None:
    assert imported("import taintwatch", tmp_path).isdisjoint((*HEAVY, "numpy", "cv2", "onnx", "av", "pydantic"))
