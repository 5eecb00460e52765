"""Which values of a model are looked at: of transformers the sums, of channels-last models the right axis."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.detection.cells import with_cells
from taintwatch_models.detection.layers import looked_at
from taintwatch_models.onnx_session import SessionSettings, open_session

BLOCK = """
<ir_version: 8, opset_import: ["" : 17]>
block (float[B,3,8,8] pixels) => (float[B,16,6] features)
<float[6,3,2,2] patches, float[6] scale, float[6,12] wide, float[12] bias, float[12,6] narrow, float[6,6] mix,
 float half = {0.5}>
{
  grid = Conv <strides = [2, 2]> (pixels, patches)
  shape = Constant <value_ints = [0, 6, 16]> ()
  flat = Reshape (grid, shape)
  tokens = Transpose <perm = [0, 2, 1]> (flat)
  first = LayerNormalization <axis = -1> (tokens, scale)
  turned = Transpose <perm = [1, 0, 2]> (first)
  mixed = MatMul (turned, mix)
  back = Transpose <perm = [1, 0, 2]> (mixed)
  attended = Add (tokens, back)
  second = LayerNormalization <axis = -1> (attended, scale)
  opened = MatMul (second, wide)
  shifted = Add (opened, bias)
  bent = Erf (shifted)
  halved = Mul (bent, half)
  hidden = Mul (shifted, halved)
  closed = MatMul (hidden, narrow)
  features = Add (attended, closed)
}
"""


def parsed(text: str) -> onnx.ModelProto:
    """The model, with zeros for the weights that it declares."""
    proto = onnx.parser.parse_model(text)
    for weight in proto.graph.value_info:
        shape = [each.dim_value for each in weight.type.tensor_type.shape.dim]
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), weight.name))
    return proto


def test_of_a_transformer_the_sums_are_looked_at_and_not_what_lies_inside_its_mlp() -> None:
    assert looked_at(parsed(BLOCK), "features") == {"tokens": True, "attended": True, "features": False}


NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
network (float[B,3,8,8] pixels) => (float[B,5,8,8] features)
<float[5,3,1,1] first, float[5,5,1,1] second, float[5,5,1,1] third>
{
  one = Conv (pixels, first)
  seen = Relu (one)
  two = Conv (seen, second)
  summed = Add (seen, two)
  features = Conv (summed, third)
}
"""


def test_of_a_convolutional_network_all_that_convolutions_read_is_looked_at() -> None:
    assert looked_at(parsed(NETWORK), "features") == {"seen": False, "summed": False, "features": False}


LAST = """
<ir_version: 8, opset_import: ["" : 17]>
last (float[B,6,4,9] pixels) => (float[B,4,9,6] maps)
{
  maps = Transpose <perm = [0, 2, 3, 1]> (pixels)
}
"""


@pytest.mark.parametrize("stride", [1, 2])
def test_cells_of_maps_with_channels_last_are_those_of_the_same_maps_with_channels_first(stride: int) -> None:
    channels = np.array([1, 2, 5])
    layer = LayerCells("maps", (4, 9), 36, stride, channels, np.zeros(3, np.float32), np.eye(3, dtype=np.float32))
    proto = with_cells(onnx.parser.parse_model(LAST), (layer,))
    session, _ = open_session(proto.SerializeToString(), SessionSettings(device="cpu", threads=1))
    pixels = np.random.default_rng(0).normal(size=(2, 6, 4, 9)).astype(np.float32)
    given = session.run(["cells0"], {"pixels": pixels})[0]
    assert (given == pixels[:, channels][:, :, ::stride, ::stride]).all()
