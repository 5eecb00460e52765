"""The doctor: it tries things for real, and a thing that fails comes with what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from taintwatch.cli.main import main
from taintwatch.doctor import (
    State,
    all_checks,
    check_cameras,
    check_gpu,
    check_package,
    check_port,
    check_python,
    provider_checks,
)
from tests.ports import free_port


def test_nothing_fails_where_the_tests_run_and_every_trouble_has_an_advice() -> None:
    checks = all_checks(port=free_port())
    assert [check.name for check in checks if check.state is State.FAIL] == []
    assert all(check.advice for check in checks if check.state is not State.OK)
    assert len({check.name for check in checks}) == len(checks)


def test_the_cpu_provider_is_run_not_only_listed() -> None:
    found = {name: state for name, state, _, _ in provider_checks()}
    assert found["CPUExecutionProvider"] == "ok"


def test_a_port_in_use_is_a_warning_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        check = check_port(taken.getsockname()[1])
    assert check.state is State.WARN
    assert "in use" in check.found
    assert "--bind" in check.advice


def test_an_old_python_and_a_missing_package_fail() -> None:
    assert check_python((3, 10, 4)).state is State.FAIL
    missing = check_package("no_such_module", "no-such-distribution")
    assert (missing.state, missing.advice) == (State.FAIL, "pip install no-such-distribution")


def test_cameras_are_listed_and_none_at_all_is_only_a_warning(tmp_path: Path) -> None:
    assert [check.state for check in check_cameras(tmp_path)] == [State.WARN]
    for name in ("video0", "video12", "videos"):
        (tmp_path / name).touch()
    assert [check.found for check in check_cameras(tmp_path)] == [str(tmp_path / "video0"), str(tmp_path / "video12")]


@pytest.mark.parametrize(
    ("script", "state", "found"),
    [
        ("echo 'NVIDIA H200, 570.1, 143771 MiB'", State.OK, "NVIDIA H200, 570.1, 143771 MiB"),
        ("echo 'cannot talk to the driver' >&2; exit 9", State.WARN, "cannot talk to the driver"),
    ],
)
def test_the_gpu_is_asked_for_through_its_driver(tmp_path: Path, script: str, state: State, found: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    check = check_gpu(lambda _: str(program), lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert (check.state, check.found) == (state, found)


def test_a_gpu_that_this_runtime_cannot_use_is_said_with_what_to_do(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H100, 550, 80000 MiB\n")
    program.chmod(0o755)
    check = check_gpu(lambda _: str(program), lambda: ["CPUExecutionProvider"])
    assert check.state is State.WARN
    assert check.found == "NVIDIA H100, 550, 80000 MiB, but this ONNX Runtime is the one for CPUs"
    assert "onnxruntime-gpu" in check.advice


def test_no_gpu_is_only_a_warning() -> None:
    assert check_gpu(lambda _: None).state is State.WARN


def test_the_command_prints_a_row_for_each_check_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    assert main(["doctor", "--port", port]) == 0
    captured = capsys.readouterr()
    assert "CPUExecutionProvider" in captured.out
    assert f"127.0.0.1:{port} is free" in captured.out
    assert main(["doctor", "--json", "--port", port]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {"name", "state", "found", "advice"} == set(report["checks"][0])
