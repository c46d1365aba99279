"""OpenVINO's intermediate representation, version 11: a graph in XML and a file of constants.

The XML is written directly, so that an export needs no runtime and the same model gives the same
bytes. The caller gives the shapes; the runtime infers them again when it reads the file.
Format: https://docs.openvino.ai/2026/documentation/openvino-ir-format.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from qdeploy.exporters.native.weights_file.layout import WeightsLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

PORT_PRECISION = {
    "f32": "FP32", "f16": "FP16", "i64": "I64", "i32": "I32", "u8": "U8", "i8": "I8",
    "u4": "U4", "i4": "I4", "boolean": "BOOL", "string": "STRING",
}  # fmt: skip
"""How a port spells an element type; everywhere else the format uses the short form."""
NUMPY_TYPES = {"float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32", "uint8": "u8",
               "bool": "boolean"}  # fmt: skip

Shape = tuple[int, ...]
"""Dimensions; -1 for one that is known only at run time."""


@dataclass(frozen=True)
class Value:
    """One output of one layer, where edges start."""

    layer: int
    port: int
    dtype: str
    shape: Shape


class Graph:
    """Layers and edges in the order they were added.

    Args:
        name: the graph's name.
        layout: where constants are placed.
    """

    def __init__(self, name: str, layout: WeightsLayout) -> None:
        self._name, self._layout = name, layout
        self._layers: list[str] = []
        self._edges: list[str] = []
        self._known: dict[tuple[str, Shape, bytes], Value] = {}

    def add(
        self,
        kind: str,
        inputs: Sequence[Value],
        dtype: str,
        shape: Shape,
        *,
        name: str = "",
        opset: str = "opset1",
        mark: str = "",
        tensor: str = "",
        **data: object,
    ) -> Value:
        """Add a layer with one output and return that.

        Args:
            kind: the operation's type, e.g. `MatMul`.
            inputs: in the operation's order.
            dtype: element type of the output, in the short form.
            shape: of the output.
            name: the layer's own; its number by default.
            opset: the set that has the operation in this version.
            mark: a runtime attribute, e.g. `decompression`.
            tensor: the name by which the runtime offers the output.
            data: the operation's attributes.
        """
        return self.add_many(
            kind, inputs, [(dtype, shape)],
            name=name, opset=opset, mark=mark, tensors=[tensor], **data,
        )[0]  # fmt: skip

    def add_many(
        self,
        kind: str,
        inputs: Sequence[Value],
        outputs: Sequence[tuple[str, Shape]],
        *,
        name: str = "",
        opset: str = "opset1",
        mark: str = "",
        tensors: Sequence[str] = (),
        **data: object,
    ) -> list[Value]:
        """Add a layer with any number of outputs; `add` explains the arguments."""
        number = len(self._layers)
        values = [
            Value(number, len(inputs) + i, dtype, shape) for i, (dtype, shape) in enumerate(outputs)
        ]
        head = f"<layer{_attributes(id=number, name=name or f'{kind}_{number}', type=kind)}"
        lines = [f"{head}{_attributes(version=opset)}>"]
        if data:
            lines.append(f"\t<data{_attributes(**data)} />")
        if mark:
            attribute = f"<attribute{_attributes(name=mark, version=0)} />"
            lines.append(f"\t<rt_info>{attribute}</rt_info>")
        if inputs:
            ports = (_port(i, value) for i, value in enumerate(inputs))
            lines.append(f"\t<input>{''.join(ports)}</input>")
        if values:
            names = [*tensors, *[""] * len(values)]
            ports = (_port(v.port, v, n) for v, n in zip(values, names, strict=False))
            lines.append(f"\t<output>{''.join(ports)}</output>")
        self._layers.append("\n".join([*lines, "</layer>"]))
        for i, value in enumerate(inputs):
            ends = {"from-layer": value.layer, "from-port": value.port}
            ends |= {"to-layer": number, "to-port": i}
            self._edges.append(f"<edge{_attributes(**ends)} />")
        return values

    def constant(self, array: NDArray[Any]) -> Value:
        """Add a small constant. An equal one that is there already is used again."""
        dtype = NUMPY_TYPES[array.dtype.name]
        content = array.tobytes()
        key = (dtype, array.shape, content)
        if key not in self._known:
            span = self._layout.inline(content)
            self._known[key] = self.stored(dtype, array.shape, span.offset, span.size)
        return self._known[key]

    def stored(self, dtype: str, shape: Shape, offset: int, size: int, name: str = "") -> Value:
        """Add a constant that lies at *offset* of the file of constants, *size* bytes long."""
        text = ", ".join(map(str, shape))
        return self.add(
            "Const", [], dtype, shape, name=name,
            element_type=dtype, shape_=text, offset=offset, size=size,
        )  # fmt: skip

    def to_xml(self, runtime_info: Mapping[str, object]) -> str:
        """The whole graph. *runtime_info* is what the runtime may ask of the model, by name."""
        return "\n".join(
            [
                '<?xml version="1.0"?>',
                f"<net{_attributes(name=self._name, version=11)}>",
                "<layers>", *self._layers, "</layers>",
                "<edges>", *self._edges, "</edges>",
                "<rt_info>", *_info(runtime_info), "</rt_info>",
                "</net>", "",
            ]
        )  # fmt: skip


def _attributes(**values: object) -> str:
    """XML attributes, each after a space. A trailing underscore is not part of the name."""
    return "".join(f" {k.rstrip('_')}={quoteattr(_text(v))}" for k, v in values.items())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _port(number: int, value: Value, names: str = "") -> str:
    attributes = _attributes(id=number, precision=PORT_PRECISION[value.dtype])
    if names:
        attributes += _attributes(names=names)
    return f"<port{attributes}>{''.join(f'<dim>{n}</dim>' for n in value.shape)}</port>"


def _info(content: Mapping[str, object]) -> list[str]:
    lines = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            lines += [f"<{name}>", *_info(value), f"</{name}>"]
        else:
            lines.append(f"<{name}{_attributes(value=value)} />")
    return lines
