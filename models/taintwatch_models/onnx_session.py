"""ONNX Runtime sessions: the device that was asked for, or a clear refusal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from taintwatch_models.errors import DeviceError, InferenceError, ModelError, first_line

__all__ = ["SessionSettings", "available_providers", "expects_gpu", "gpu_present", "open_session", "run_session"]

_BY_DEVICE = {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider",)}
_ON_GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
_QUIET = 4  # fatal only: what fails is told by our own exceptions


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Where and how a graph is run."""

    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu` or `cuda`."""
    require_device: bool = False
    """Whether it is an error that another provider came out."""
    providers: tuple[str, ...] = ()
    """Overrides `device`, most wanted first."""
    threads: int = 0
    """Intra-op threads; 0 for the runtime's choice."""
    precision: str = "float32"
    """Or float16; TensorRT then chooses its kernels in float16 too."""
    pixels: bool | None = None
    """Whether inputs are pixels, normalised in the graph; None: on a GPU."""
    bound: bool = False
    """Whether to run through IO binding also on the CPU."""
    cuda_graph: bool = False
    """Whether CUDA records the first run, of `batch` rows, and replays it: every run then has so many."""
    batch: int = 1
    server: str | None = None
    """`triton://host:8001`: graphs run there; None: here."""
    collect: Callable[[bytes], object] | None = None
    """Told of each graph that is opened, to export it; None: nobody is."""

    @property
    def portable(self) -> bool:
        """Whether graphs hold all that they need, and take inputs as the model does: they run elsewhere."""
        return self.server is not None or self.collect is not None


def gpu_present() -> bool:
    """Say whether this machine shows an NVIDIA device at all (a driver's file, not a promise that it works)."""
    return any(Path(name).exists() for name in _GPU_FILES)


def available_providers() -> tuple[str, ...]:
    """Return the providers that the installed ONNX Runtime was built with."""
    return tuple(ort.get_available_providers())


def open_session(model: bytes | str, settings: SessionSettings | None = None) -> tuple[Any, str]:
    """Open a session on a graph, or on the file of one, and return it with the provider that really runs it.

    Raises `DeviceError` where the device is required and another provider came out, `ModelError` where the graph cannot
    be loaded.
    """
    settings = settings or SessionSettings()
    if settings.portable and isinstance(model, str):
        raise ModelError("a model of over 2 GB, with its weights beside it, cannot run on a Triton server")
    if settings.collect is not None and isinstance(model, bytes):
        settings.collect(model)
    if settings.server is not None and isinstance(model, bytes):
        from taintwatch_models.triton.session import TritonSession  # gRPC, which nobody else needs

        return TritonSession(model, settings.server), "Triton"
    usable = _usable(settings)
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = settings.threads
    if usable[0] != "CPUExecutionProvider" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        chosen = [(name, _provider_options(name, settings)) for name in usable]
        session = ort.InferenceSession(model, options, providers=chosen)
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot load the graph ({first_line(error)})") from None
    provider = str(session.get_providers()[0])
    if settings.require_device and provider != usable[0]:
        raise DeviceError(
            f"{usable[0]} is required but {provider} came out: the driver or CUDA's libraries are missing; "
            "`taintwatch doctor` says which, or set require_device = false"
        )
    return session, provider


def run_session(session: Any, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], provider: str) -> list[Any]:
    """Run a session for these outputs. Raises `InferenceError` where the runtime fails."""
    try:
        found: list[Any] = session.run(list(names), feeds)
    except Exception as error:  # the runtime raises its own kinds, one for each provider
        raise InferenceError(f"inference failed on {provider}: {first_line(error)}") from error
    return found


def expects_gpu(settings: SessionSettings) -> bool:
    """Say whether a session that is opened so is meant to run on a GPU."""
    return (settings.providers or _wanted(settings.device))[0] in _ON_GPU


def _usable(settings: SessionSettings) -> list[str]:
    """Return the providers to try, most wanted first, the CPU last. Raises `DeviceError`."""
    wanted, built = settings.providers or _wanted(settings.device), available_providers()
    usable = [name for name in wanted if name in built]
    if settings.require_device and (not usable or usable[0] != wanted[0]):
        raise DeviceError(
            f"{wanted[0]} is required but this ONNX Runtime has only {', '.join(built)}; install onnxruntime-gpu, or "
            "set require_device = false"
        )
    return usable if "CPUExecutionProvider" in usable else [*usable, "CPUExecutionProvider"]


def _provider_options(provider: str, settings: SessionSettings) -> dict[str, str]:
    if provider == "CUDAExecutionProvider" and settings.cuda_graph:
        return {"enable_cuda_graph": "1"}
    if provider == "TensorrtExecutionProvider":
        half = settings.precision == "float16"
        chosen = {"trt_cuda_graph_enable": settings.cuda_graph, "trt_fp16_enable": half}
        return {name: "1" for name, wanted in chosen.items() if wanted}
    return {}


def _wanted(device: str) -> tuple[str, ...]:
    if device == "auto":
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        device = "cuda" if gpu_present() and not hidden and "CUDAExecutionProvider" in available_providers() else "cpu"
    if device not in _BY_DEVICE:
        raise DeviceError(f"device must be auto, cpu or cuda, not '{device}'")
    return _BY_DEVICE[device]
