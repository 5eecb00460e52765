"""A session whose constants stay where it runs: what changes is copied there once, what comes out is copied back once.

The same code runs on the CPU, where nothing is copied but the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

__all__ = ["BoundSession", "device_of"]

_TYPES = {
    "tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_, "tensor(int64)": np.int64,
}  # fmt: skip

Arrays = dict[str, NDArray[Any]]


def device_of(provider: str) -> str:
    """Return where a provider keeps its arrays, as ONNX Runtime calls it."""
    return "cuda" if provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider") else "cpu"


class BoundSession:
    """Runs a session through IO binding. Used by one thread at a time.

    `constants` are fed at every run unless a call gives others. With `fixed_batch` every run has that many rows (a
    smaller batch is filled up with its last row, and the filling cut off again) and the same buffers, as a recorded
    CUDA graph needs it.
    """

    def __init__(
        self,
        session: Any,
        outputs: Sequence[str],
        *,
        device: str = "cpu",
        constants: Mapping[str, NDArray[Any]] | None = None,
        fixed_batch: int | None = None,
    ) -> None:
        self._session, self.outputs, self._device = session, tuple(outputs), device
        self._constants = {name: self._upload(value) for name, value in (constants or {}).items()}
        self._fixed_batch = fixed_batch
        self._buffers: dict[str, Any] = {}
        if fixed_batch is not None:
            wanted = [value for value in session.get_outputs() if value.name in self.outputs]
            for value in (*session.get_inputs(), *wanted):
                shape = [size if isinstance(size, int) else fixed_batch for size in value.shape]
                kind = _TYPES[value.type]
                self._buffers[value.name] = ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, device, 0)

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name. Raises what the runtime raises."""
        binding = self._session.io_binding()
        for name, value in self._constants.items():
            if name not in feeds:
                binding.bind_ortvalue_input(name, value)
        rows = 0
        for name, array in feeds.items():
            rows = len(array) if name in self._buffers else rows
            binding.bind_ortvalue_input(name, self._given(name, array))
        for name in self.outputs:
            if name in self._buffers:
                binding.bind_ortvalue_output(name, self._buffers[name])
            else:
                binding.bind_output(name, "cpu")  # the runtime copies it there, all at the end of the run
        self._session.run_with_iobinding(binding)
        values = binding.copy_outputs_to_cpu()  # waits for the device: once a batch
        found = dict(zip(self.outputs, values, strict=True))
        return {name: value[:rows] for name, value in found.items()} if self._buffers else found

    def _given(self, name: str, array: NDArray[Any]) -> Any:
        if name not in self._buffers:
            return self._upload(array)
        missing = (self._fixed_batch or 0) - len(array)
        if missing < 0:
            raise ValueError(f"{len(array)} rows are more than the {self._fixed_batch} that were recorded")
        padded = np.concatenate([array, np.repeat(array[-1:], missing, 0)]) if missing else array
        self._buffers[name].update_inplace(np.ascontiguousarray(padded))
        return self._buffers[name]

    def _upload(self, array: NDArray[Any]) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array).reshape(array.shape), self._device, 0)
