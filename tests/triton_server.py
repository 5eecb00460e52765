"""A small stand-in for Triton: its protocol (tritonclient's own types), and ONNX Runtime on the repository's files.

It does what the real server's checks do: an input of another name, type or shape than config.pbtxt says is refused, and
so is a batch beyond max_batch_size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

__all__ = ["TritonServer", "model_config", "triton_server"]


def model_config(folder: Path) -> Any:
    """Return what config.pbtxt says, read by Triton's own schema: an unknown key is an error."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


class TritonServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves a repository as it is at the start."""

    def __init__(self, repository: Path) -> None:
        self._configs = {folder.name: model_config(folder) for folder in repository.iterdir()}
        self._sessions = {
            name: ort.InferenceSession(str(repository / name / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
            for name in self._configs
        }
        self.batches: list[int] = []
        """Of each request, the rows."""

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.ModelReadyResponse(ready=request.name in self._sessions)

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelConfigResponse(config=self._configs[request.name])

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        config = self._configs[request.model_name]
        feeds = {}
        for given, declared, raw in zip(request.inputs, config.input, request.raw_input_contents, strict=True):
            wanted = (declared.name, model_config_pb2.DataType.Name(declared.data_type).removeprefix("TYPE_"))
            if (given.name, given.datatype) != wanted or list(given.shape[1:]) != list(declared.dims):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected input {given.name} {list(given.shape)}")
            if given.shape[0] > config.max_batch_size:
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"inference request batch-size must be <= {config.max_batch_size}"
                )
            feeds[given.name] = np.frombuffer(raw, triton_to_np_dtype(given.datatype)).reshape(tuple(given.shape))
            self.batches.append(given.shape[0])
        names = [output.name for output in request.outputs]
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name, value in zip(names, self._sessions[request.model_name].run(names, feeds), strict=True):
            value = value if value.ndim > 1 else value.reshape(-1, 1)  # reshape { shape: [ ] }
            tensor = answer.outputs.add()
            tensor.name, tensor.datatype = name, np_to_triton_dtype(value.dtype)
            tensor.shape.extend(value.shape)
            answer.raw_output_contents.append(value.tobytes())
        return answer


@contextlib.contextmanager
def triton_server(repository: Path) -> Iterator[tuple[TritonServer, str, Any]]:
    """Give a server that runs, its address, and gRPC's own object, which stops it."""
    servicer = TritonServer(repository)
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"triton://127.0.0.1:{port}", server
    finally:
        server.stop(None).wait(10)
