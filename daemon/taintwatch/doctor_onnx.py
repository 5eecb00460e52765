"""Which ONNX Runtime providers really run: a listed one may lack its libraries or its GPU."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

__all__ = ["provider_checks", "tiny_model"]

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
