"""Builds an ONNX graph: nodes in the model file, large constants in a file beside it.

Format: https://github.com/onnx/onnx/blob/main/docs/IR.md and, for constants outside of the model's
file, docs/ExternalData.md there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdeploy.exporters.native.weights_file.layout import Span, WeightsLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto, TensorProto, ValueInfoProto

IR_VERSION = 10
"""The first version with four-bit types; onnxruntime-genai's own builder writes it too."""
MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
FLOATS = {"fp32": "float32", "fp16": "float16"}
"""NumPy's names of a profile's float types."""
FLOAT_TYPES = {"float32": 1, "float16": 10}
INT32_TYPE = 6
"""ONNX's numbers of the types, for `Cast`."""
SMALL_BYTES = 1024
"""Constants up to this size are stored in the model file, where shape inference reads them."""

Dim = int | str
"""A size, or the name of a size that is known only at run time."""


class Graph:
    """Nodes, constants, inputs and outputs in the order they were added. Values are names.

    Args:
        layout: the layout of the file of constants.
        file: name of that file, which lies beside the model.
        opset: version of ONNX's own operators.
    """

    def __init__(self, layout: WeightsLayout, file: str, *, opset: int) -> None:
        self.layout, self._file, self._opset = layout, file, opset
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._names: dict[str, int] = {}

    def input(self, name: str, dtype: str, shape: Sequence[Dim]) -> str:
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[Dim]) -> None:
        self._outputs.append(_value(name, dtype, shape))

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        name: str = "",
        output: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node with one output and return that.

        The output is named *output*, by default like the node. The node is named *name*, by
        default its kind, with a number appended where that name is taken.
        """
        name = self._unique(name or kind)
        output = output or name
        self.add_many(kind, inputs, [output], name=name, domain=domain, **attributes)
        return output

    def add_many(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        name: str,
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Add a node with the outputs of these names; an empty name omits an optional output."""
        from onnx import helper

        node = helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        self._nodes.append(node)

    def constant(self, array: NDArray[Any], name: str = "constant") -> str:
        """Add a constant, or return an equal one that was added before."""
        from onnx import numpy_helper

        content = array.tobytes()
        key = (array.dtype.name, array.shape, content)
        if key not in self._by_content:
            name = self._by_content[key] = self._unique(name)
            if len(content) <= SMALL_BYTES:
                self._constants[name] = numpy_helper.from_array(array, name)
            else:
                self.stored(name, array.dtype.name, array.shape, self.layout.inline(content))
        return self._by_content[key]

    def i64(self, numbers: int | Sequence[int]) -> str:
        import numpy as np

        return self.constant(np.asarray(numbers, np.int64))

    def number(self, value: float, dtype: str) -> str:
        import numpy as np

        return self.constant(np.asarray(value, dtype))

    def f32(self, number: float) -> str:
        return self.number(number, "float32")

    def stored(self, name: str, dtype: str, shape: Sequence[int], span: Span) -> str:
        """Add a constant stored at *span* of the file, or return the one of this name."""
        from onnx import TensorProto

        if name not in self._constants:
            tensor = TensorProto(name=name, dims=shape, data_type=_type(dtype))
            tensor.data_location = TensorProto.EXTERNAL
            where = {"location": self._file, "offset": span.offset, "length": span.size}
            for key, value in where.items():
                tensor.external_data.add(key=key, value=str(value))
            self._constants[name] = tensor
        return name

    def write(self, path: Path) -> None:
        """Write the model file, without the constants in the file beside it."""
        from onnx import helper

        graph = helper.make_graph(
            self._nodes, "qdeploy", self._inputs, self._outputs, list(self._constants.values())
        )
        domains = [helper.make_opsetid("", self._opset)]
        if any(node.domain == MICROSOFT for node in self._nodes):
            domains.append(helper.make_opsetid(MICROSOFT, 1))
        model = helper.make_model(
            graph, opset_imports=domains, ir_version=IR_VERSION, producer_name="qdeploy"
        )
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _unique(self, name: str) -> str:
        """Return *name*, with a number appended from its second use on."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


def _type(dtype: str) -> int:
    import numpy as np
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _value(name: str, dtype: str, shape: Sequence[Dim]) -> ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, _type(dtype), list(shape))
