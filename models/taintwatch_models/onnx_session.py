"""ONNX Runtime sessions: the device that was asked for, or a clear refusal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from taintwatch_models.errors import DeviceError, ModelError

__all__ = ["available_providers", "expects_gpu", "gpu_present", "open_session"]

_BY_DEVICE = {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider",)}
_ON_GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
_QUIET = 4  # fatal only: what fails is told by our own exceptions


def gpu_present() -> bool:
    """Say whether this machine shows an NVIDIA device at all (a driver's file, not a promise that it works)."""
    return any(Path(name).exists() for name in _GPU_FILES)


def available_providers() -> tuple[str, ...]:
    """Return the providers that the installed ONNX Runtime was built with."""
    return tuple(ort.get_available_providers())


def open_session(
    model: bytes,
    *,
    device: str = "auto",
    require_device: bool = False,
    providers: Sequence[str] = (),
    threads: int = 0,
    cuda_graph: bool = False,
    half: bool = False,
) -> tuple[Any, str]:
    """Open a session and return it with the provider that really runs it.

    `device` is `auto` (CUDA where there is one), `cpu` or `cuda`; `providers` overrides it (most wanted first).
    `threads` is the number of intra-op threads, 0 for the runtime's choice. `cuda_graph` has CUDA record the first run
    and replay it; `half` lets TensorRT choose kernels in float16. Raises `DeviceError` where
    `require_device` is set and another provider came out, `ModelError` where the graph cannot be loaded.
    """
    wanted = tuple(providers) or _wanted(device)
    built = available_providers()
    usable = [name for name in wanted if name in built]
    if require_device and (not usable or usable[0] != wanted[0]):
        raise DeviceError(
            f"{wanted[0]} is required but this ONNX Runtime has only {', '.join(built)}; install onnxruntime-gpu, or "
            "set require_device = false"
        )
    if "CPUExecutionProvider" not in usable:
        usable.append("CPUExecutionProvider")
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    if usable[0] != "CPUExecutionProvider" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        chosen = [(name, _provider_options(name, cuda_graph, half)) for name in usable]
        session = ort.InferenceSession(model, options, providers=chosen)
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot load the graph ({str(error).strip().splitlines()[0]})") from None
    provider = str(session.get_providers()[0])
    if require_device and provider != wanted[0]:
        raise DeviceError(
            f"{wanted[0]} is required but {provider} came out: the driver or CUDA's libraries are missing; "
            "`taintwatch doctor` says which, or set require_device = false"
        )
    return session, provider


def expects_gpu(device: str, providers: Sequence[str] = ()) -> bool:
    """Say whether a session that is opened so is meant to run on a GPU."""
    return (tuple(providers) or _wanted(device))[0] in _ON_GPU


def _provider_options(provider: str, cuda_graph: bool, half: bool) -> dict[str, str]:
    if provider == "CUDAExecutionProvider" and cuda_graph:
        return {"enable_cuda_graph": "1"}
    if provider == "TensorrtExecutionProvider":
        chosen = {"trt_cuda_graph_enable": cuda_graph, "trt_fp16_enable": half}
        return {name: "1" for name, wanted in chosen.items() if wanted}
    return {}


def _wanted(device: str) -> tuple[str, ...]:
    if device == "auto":
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        device = "cuda" if gpu_present() and not hidden and "CUDAExecutionProvider" in available_providers() else "cpu"
    if device not in _BY_DEVICE:
        raise DeviceError(f"device must be auto, cpu or cuda, not '{device}'")
    return _BY_DEVICE[device]
