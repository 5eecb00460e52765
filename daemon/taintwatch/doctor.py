"""Checks of this machine: each thing is tried, not only looked up, and a failure says what to do."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Check", "State", "all_checks", "provider_checks", "tiny_model"]

OLDEST_PYTHON = (3, 11)
# What is imported (module) and what pip calls it (distribution): an import finds missing system libraries too.
PACKAGES = (
    ("numpy", "numpy"),
    ("cv2", "opencv-python"),
    ("onnx", "onnx"),
    ("av", "av"),
    ("zmq", "pyzmq"),
    ("click", "click"),
    ("pydantic", "pydantic"),
    ("rich", "rich"),
    ("reportlab", "reportlab"),
)
DECODERS = ("h264", "hevc", "mjpeg")


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    """Taintwatch works without it, but something is not available."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the doctor's table. JSON-ready."""

    name: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where all is well."""


def all_checks(*, port: int, import_torch: bool = False, devices: Path = Path("/dev")) -> list[Check]:
    """Run every check, in the table's order. Slow ones take some seconds; nothing is changed."""
    checks = [check_python(), *map(check_package, *zip(*PACKAGES, strict=True)), check_torch(import_torch)]
    return [
        *checks,
        *(Check(name, State(state), found, advice) for name, state, found, advice in provider_checks()),
        check_gpu(),
        check_decoders(),
        *check_cameras(devices),
        check_port(port),
        check_bundled_model(),
    ]


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> Check:
    """Check the interpreter's version."""
    found = ".".join(map(str, version))
    if version[:2] < OLDEST_PYTHON:
        return Check("python", State.FAIL, found, "install Python 3.11 or newer and make .venv anew")
    return Check("python", State.OK, found)


def check_package(module: str, distribution: str) -> Check:
    """Check that a package imports."""
    try:
        import_module(module)
    except ImportError as error:
        advice = "apt-get install libgl1 libglib2.0-0" if module == "cv2" and ".so" in str(error) else ""
        return Check(distribution, State.FAIL, str(error), advice or f"pip install {distribution}")
    return Check(distribution, State.OK, metadata.version(distribution))


def check_torch(import_it: bool) -> Check:
    """Check torch by its metadata alone, or by importing it (seconds) and asking for CUDA."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        advice = "pip install 'taintwatch[torch]', only to run torch models, to train or to craft"
        return Check("torch", State.WARN, "not installed", advice)
    if not import_it:
        return Check("torch", State.OK, f"{version} (not imported; --torch tries it)")
    torch = import_module("torch")
    return Check("torch", State.OK, f"{version}, CUDA {'works' if torch.cuda.is_available() else 'not available'}")


def check_gpu(
    find: Callable[[str], str | None] = shutil.which, providers: Callable[[], Sequence[str]] | None = None
) -> Check:
    """Check for an NVIDIA GPU and its driver by asking nvidia-smi, and whether this ONNX Runtime could use it."""
    program = find("nvidia-smi")
    if program is None:
        return Check("gpu", State.WARN, "no NVIDIA driver (no nvidia-smi)", "none needed: models run on the CPU")
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("gpu", State.WARN, f"nvidia-smi failed: {type(error).__name__}", "check the NVIDIA driver")
    if done.returncode or not done.stdout.strip():
        said = (done.stdout + done.stderr).strip().splitlines()
        return Check("gpu", State.WARN, said[0] if said else "nvidia-smi said nothing", "check the NVIDIA driver")
    found = "; ".join(done.stdout.strip().splitlines())
    if "CUDAExecutionProvider" not in (providers or _providers)():
        advice = "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        return Check("gpu", State.WARN, f"{found}, but this ONNX Runtime is the one for CPUs", advice)
    return Check("gpu", State.OK, found)


def _providers() -> Sequence[str]:
    try:
        return list(import_module("onnxruntime").get_available_providers())
    except ImportError:
        return ()


def check_decoders() -> Check:
    """Check that PyAV brings the decoders that cameras use."""
    try:
        av = import_module("av")
    except ImportError as error:
        return Check("decoders", State.FAIL, str(error), "pip install av")
    missing = [name for name in DECODERS if name not in av.codecs_available]
    if missing:
        return Check("decoders", State.FAIL, f"missing: {', '.join(missing)}", "pip install --force-reinstall av")
    return Check("decoders", State.OK, ", ".join(DECODERS))


def check_cameras(devices: Path) -> Iterable[Check]:
    """Check that each webcam under `devices` may be read; one warning where there is none."""
    cameras = sorted(devices.glob("video[0-9]*"))
    if not cameras:
        yield Check("cameras", State.WARN, f"none under {devices}", "none needed for streams, files and `sim:` scenes")
    for camera in cameras:
        if os.access(camera, os.R_OK | os.W_OK):
            yield Check("camera", State.OK, str(camera))
        else:
            yield Check("camera", State.FAIL, f"{camera} may not be read", "add your user to the group `video`")


def check_port(port: int) -> Check:
    """Check that alerts can be published at the default port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As ZeroMQ does: a port that was closed a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            advice = "a daemon runs already, or choose another with --bind tcp://127.0.0.1:PORT"
            return Check("port", State.WARN, f"127.0.0.1:{port}: {error.strerror}", advice)
    return Check("port", State.OK, f"127.0.0.1:{port} is free")


def check_bundled_model() -> Check:
    """Check that the model which runs without `--model` is there."""
    spec = find_spec("taintwatch_models.bundled")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    models = sorted(path.name for folder in folders for path in Path(folder).glob("*.onnx"))
    if not models:
        return Check("bundled model", State.WARN, "none in this build", "give a model with --model")
    return Check("bundled model", State.OK, ", ".join(models))


# Providers that a machine needs nothing special for; the others only warn where they do not work.
EVERYWHERE = ("CPUExecutionProvider",)
# Listed by ONNX Runtime but of no use to Taintwatch.
UNUSED = ("AzureExecutionProvider",)


def tiny_model() -> bytes:
    """Return an ONNX model that a provider has to do something for: one 1x1 convolution over (1, 1, 2, 2)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    shape = [1, 1, 2, 2]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.full((1, 1, 1, 1), 2, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def provider_checks() -> Iterator[tuple[str, str, str, str]]:
    """Yield (name, `ok`, `warn` or `fail`, what was found, what to do) for each provider that this build lists."""
    try:
        ort = import_module("onnxruntime")
        model = tiny_model()
    except ImportError as error:
        yield "onnxruntime", "fail", str(error), "pip install onnxruntime (or onnxruntime-gpu)"
        return
    yield "onnxruntime", "ok", str(ort.__version__), ""
    ort.set_default_logger_severity(4)  # a provider that cannot load logs pages to standard error
    for provider in ort.get_available_providers():
        if provider not in UNUSED:
            yield _try(ort, provider, model)


def _try(ort: Any, provider: str, model: bytes) -> tuple[str, str, str, str]:
    """Run the tiny model on one provider and look where it really ran and what came out."""
    import numpy as np

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        # Falling back is printed to standard output, where `--json` must stay alone.
        with redirect_stdout(io.StringIO()):
            session = ort.InferenceSession(model, options, providers=[provider])
        used = session.get_providers()[0]
        (y,) = session.run(None, {"x": np.ones((1, 1, 2, 2), np.float32)})
    except Exception as error:  # the runtime raises its own kinds, one for each way to fail
        return _failed(provider, f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
    if used != provider:
        return _failed(provider, f"does not load; {used} ran in its place")
    if not np.allclose(y, 2):
        return _failed(provider, "gives wrong numbers")
    return provider, "ok", "runs", ""


def _failed(provider: str, found: str) -> tuple[str, str, str, str]:
    if provider in EVERYWHERE:
        return provider, "fail", found, "reinstall onnxruntime"
    return (
        provider,
        "warn",
        found,
        "none needed on a CPU; else install its driver and libraries (CUDA, cuDNN, TensorRT)",
    )
