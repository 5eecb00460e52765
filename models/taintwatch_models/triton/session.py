"""A session whose graph runs on a Triton server: what `open_session` gives where `server` names one.

It answers as ONNX Runtime's `InferenceSession` does, as far as the radar asks. The graph itself is here too; the server
is asked for the model of the same content, by gRPC (KServe's protocol, version 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.errors import ConfigError, InferenceError, ModelError, first_line
from taintwatch_models.triton.repository import Tensor, model_name, tensors_of

__all__ = ["TritonSession"]

CALL_S = 10.0  # an answer that takes longer has failed
SCHEMES = {"triton": False, "tritons": True}


class TritonSession:
    """One graph on one server. Used by one thread at a time.

    Raises `ConfigError` for an address that is none, or without tritonclient; `ModelError` where the server does not
    answer, or has no such model.
    """

    def __init__(self, graph: bytes, server: str) -> None:
        self._server = server
        self._name = model_name(graph)
        self._inputs, self._outputs = tensors_of(onnx.load_from_string(graph))
        self._client_module, self._client = _client(server)
        self._failures = _failures()
        try:
            if not self._client.is_model_ready(self._name, client_timeout=CALL_S):
                raise ModelError(
                    f"{server} has no model {self._name}; write it with `taintwatch model export --triton FOLDER` from"
                    " the same configuration, and let the server load that folder"
                )
            config = self._client.get_model_config(self._name, client_timeout=CALL_S).config
        except self._failures as error:
            raise ModelError(
                f"{server} does not answer ({first_line(error)}); start the Triton server first"
            ) from error
        self._most = max(1, int(config.max_batch_size))

    def get_inputs(self) -> list[Tensor]:
        """Return the inputs."""
        return list(self._inputs)

    def get_outputs(self) -> list[Tensor]:
        """Return the outputs."""
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[Tensor]:
        """Return nothing: what a calibration says is in the graph already."""
        return []

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs of a batch, in pieces where it is more than the server takes. Raises `InferenceError`."""
        wanted = [each for each in self._outputs if names is None or each.name in names]
        rows = len(next(iter(feeds.values())))
        pieces = [
            self._call(wanted, {name: array[start : start + self._most] for name, array in feeds.items()})
            for start in range(0, rows, self._most)
        ]
        joined = {each.name: np.concatenate([piece[each.name] for piece in pieces]) for each in wanted}
        return [joined[name] for name in (names or [each.name for each in self._outputs])]

    def _call(self, wanted: Sequence[Tensor], feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        inputs = []
        for tensor in self._inputs:
            array = np.ascontiguousarray(feeds[tensor.name])
            array = array if tensor.dims else array.reshape(-1, 1)
            given = self._client_module.InferInput(tensor.name, list(array.shape), tensor.type)
            given.set_data_from_numpy(array)
            inputs.append(given)
        asked = [self._client_module.InferRequestedOutput(tensor.name) for tensor in wanted]
        try:
            answer = self._client.infer(self._name, inputs, outputs=asked, client_timeout=CALL_S)
        except self._failures as error:
            raise InferenceError(f"{self._server}: {first_line(error)}") from error
        found = {}
        for tensor in wanted:
            value = answer.as_numpy(tensor.name)
            if value is None:
                raise InferenceError(f"{self._server} gave no '{tensor.name}'")
            found[tensor.name] = value if tensor.dims else value.reshape(len(value))
        return found


def _client(server: str) -> tuple[Any, Any]:
    scheme, _, place = server.partition("://")
    if scheme not in SCHEMES or ":" not in place:
        raise ConfigError(f"[model] server: {server!r} is no address like triton://host:8001 (or tritons://, with TLS)")
    try:
        import tritonclient.grpc as client
    except ImportError as error:
        raise ConfigError(
            f"[model] server needs {error.name or 'tritonclient'}. Run: pip install 'taintwatch[fleet]'"
        ) from error
    return client, client.InferenceServerClient(place.rstrip("/"), ssl=SCHEMES[scheme])


def _failures() -> tuple[type[Exception], ...]:
    from grpc import RpcError
    from tritonclient.utils import InferenceServerException

    return InferenceServerException, RpcError
