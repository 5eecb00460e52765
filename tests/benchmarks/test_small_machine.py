"""What limits the daemon on a small machine, and which packages another kind of machine gets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.small_machine import MemoryGroup, limited, memory_group, one_core
from benchmarks.wheels import platforms, requirements


def test_an_ordinary_folder_is_not_taken_for_a_control_group(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    with memory_group(500, root=tmp_path) as group:
        assert group is None
    assert list((tmp_path / "memory").iterdir()) == []


def test_a_process_joins_its_control_group_before_it_runs(tmp_path: Path) -> None:
    words = limited(["echo", "ran"], MemoryGroup(tmp_path, "peak", "fake"), 500)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "ran\n"
    assert int((tmp_path / "cgroup.procs").read_text()) > 0


def test_without_control_groups_its_data_is_limited() -> None:
    eager = ["python3", "-c", "print(len(bytearray(600_000_000)))"]
    assert subprocess.run(limited(eager, None, 300), capture_output=True, check=False).returncode != 0
    assert subprocess.run(limited(["true"], None, 300), capture_output=True, check=False).returncode == 0


def test_what_is_started_runs_on_one_core_and_the_cores_come_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core() as core:
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("machine", "package"), [("x86_64", "onnxruntime-gpu"), ("aarch64", "onnxruntime"), ("armv7l", "onnxruntime")]
)
def test_each_machine_gets_one_onnx_runtime(machine: str, package: str) -> None:
    names = [text.partition(">")[0] for text in requirements(machine, "3.11")]
    assert [name for name in names if name.startswith("onnxruntime")] == [package]
    assert all(machine in tag for tag in platforms(machine))
