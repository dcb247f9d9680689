"""The form of an exported graph that runtimes compute in 8 bits from end to end, and in one order of its arrays.

paddle2onnx writes the temporal shift as Reshape to [N, T, C, H, W], Pad (a frame of zeros at either end), three Slices,
Concat and Reshape back. No runtime pads along time in 8 bits, and in five dimensions each shift is put from one order
of channels into another and back. Here it stays in [N*T, C, H, W], and a factor of 0 makes the frames of zeros: to the
bit the same logits. A mean over windows becomes a convolution, which is quicker than a mean in 8 bits.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pptsm.deploy.initialisers import drop_unused

PADS = [0, 1, 0, 0, 0, 0, 1, 0, 0, 0]  # of [N, T, C, H, W]: a frame before and after
FRAME, CHANNEL = 0, 1  # axes of [N*T, C, H, W]
BEFORE, SAME, AFTER = 0, 1, 2  # where a slice of the padded frames starts: what it takes is the frame before, ...
END = np.iinfo(np.int64).max


def int8_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph whose constants are initialisers, in the form for 8 bits; what looks otherwise stays as it is."""
    shifts_in_four_dimensions(model.graph)
    model = onnx.shape_inference.infer_shapes(model)
    means_as_convolutions(model.graph)
    drop_unused(model.graph)
    return model


def shifts_in_four_dimensions(graph: onnx.GraphProto) -> int:
    """Rewrite all temporal shifts of a graph whose constants are initialisers.

    Returns:
        How many there were; what looks otherwise stays as it is.
    """
    shifts = _Shifts(graph)
    rewritten = {id(shift.last): shift for pad in graph.node if (shift := shifts.at(pad))}
    gone = {id(node) for shift in rewritten.values() for node in shift.nodes}
    lengths = sorted({shift.segments for shift in rewritten.values()})
    nodes = [node for segments in lengths for node in _masks(graph, segments)]
    for node in graph.node:
        if id(node) in rewritten:
            nodes += _in_four_dimensions(graph, rewritten[id(node)])
        elif id(node) not in gone:
            nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]  # those of the graph end with it
    del graph.node[:]
    graph.node.extend(nodes)
    return len(rewritten)


class _Shift(NamedTuple):
    """A temporal shift of a graph."""

    source: str  # what it shifts
    segments: int
    parts: list[tuple[int, int, int]]  # which frame each takes, first channel, last channel
    nodes: list[onnx.NodeProto]  # that give way to others

    @property
    def last(self) -> onnx.NodeProto:
        return self.nodes[-1]


class _Shifts:
    """Finds the temporal shifts of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._arrays = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
        self._maker = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)

    def at(self, pad: onnx.NodeProto) -> _Shift | None:
        """The temporal shift that a node pads for, if it is one."""
        if pad.op_type != "Pad" or len(pad.input) != 2 or self._values(pad.input[1]) != PADS:
            return None  # a third input would be another value than 0
        first, slices = self._maker.get(pad.input[0]), self._readers[pad.output[0]]
        if first is None or not slices or not all(map(self._is_part, slices)):
            return None
        concat = self._only_reader(slices[0])
        last = concat and self._only_reader(concat)
        shape = self._values(first.input[1]) if first.op_type == "Reshape" else []
        if not concat or not last or len(shape) != 5 or (concat.op_type, last.op_type) != ("Concat", "Reshape"):
            return None
        if list(concat.input) != [part.output[0] for part in slices]:
            return None
        bounds = [(self._values(part.input[1]), self._values(part.input[2])) for part in slices]
        parts = [(start[0], start[1], stop[1]) for start, stop in bounds]
        alone = [first] if len(self._readers[first.output[0]]) == 1 else []
        return _Shift(first.input[0], shape[1], parts, [*alone, pad, *slices, concat, last])

    def _values(self, name: str) -> list[int]:
        return self._arrays[name].tolist() if name in self._arrays else []

    def _only_reader(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = self._readers[node.output[0]]
        return readers[0] if len(readers) == 1 else None

    def _is_part(self, node: onnx.NodeProto) -> bool:
        """Whether a node takes some channels of the padded frames, beginning at one of the first three."""
        if node.op_type != "Slice" or len(node.input) != 4 or self._values(node.input[3]) != [1, 2]:
            return False
        return self._values(node.input[1])[:1] in ([BEFORE], [SAME], [AFTER])


def _masks(graph: onnx.GraphProto, segments: int) -> list[onnx.NodeProto]:
    """Nodes that make 0 for each clip's first frame, 0 for its last, and 1 for all others [N*T, 1, 1, 1]."""
    prefix = f"shift.{segments}"
    clips, one, shape = f"{prefix}.clips", f"{prefix}.one", f"{prefix}.shape"
    _add(graph, one, np.array([1]))
    _add(graph, f"{prefix}.column", np.array([-1, 1, 1, 1]))
    nodes = [
        helper.make_node("Shape", [graph.input[0].name], [clips], end=1),
        helper.make_node("Concat", [clips, one], [shape], axis=0),
    ]
    for taken, without in ((BEFORE, 0), (AFTER, segments - 1)):
        inside = np.ones((1, segments), np.float32)
        inside[0, without] = 0
        name = f"{prefix}.{taken}"
        _add(graph, f"{name}.of_a_clip", inside)
        nodes += [
            helper.make_node("Expand", [f"{name}.of_a_clip", shape], [f"{name}.of_clips"]),
            helper.make_node("Reshape", [f"{name}.of_clips", f"{prefix}.column"], [name]),
        ]
    return nodes


def _in_four_dimensions(graph: onnx.GraphProto, shift: _Shift) -> list[onnx.NodeProto]:
    """The nodes of a temporal shift of frames [N*T, C, H, W].

    The frame that comes from another clip, or is there twice, is the one that the mask makes zero.
    """
    out = shift.last.output[0]
    nodes: list[onnx.NodeProto] = []

    def cut(source: str, to: str, first: int, last: int, axis: int) -> str:
        bounds = [
            _add(graph, f"{to}.{what}", np.array([value]))
            for what, value in (("first", first), ("last", last), ("axis", axis))
        ]
        nodes.append(helper.make_node("Slice", [source, *bounds], [to], to))
        return to

    parts = []
    for number, (taken, first, last) in enumerate(shift.parts):
        name = f"{out}.{number}"
        channels = cut(shift.source, f"{name}.channels", first, last, CHANNEL)
        if taken == SAME:
            parts.append(channels)
            continue
        edge, rest = ((0, 1), (0, -1)) if taken == BEFORE else ((-1, END), (1, END))
        moved = [cut(channels, f"{name}.edge", *edge, FRAME), cut(channels, f"{name}.rest", *rest, FRAME)]
        order = moved if taken == BEFORE else moved[::-1]
        nodes.append(helper.make_node("Concat", order, [f"{name}.frames"], f"{name}.frames", axis=FRAME))
        mask = f"shift.{shift.segments}.{taken}"
        nodes.append(helper.make_node("Mul", [f"{name}.frames", mask], [f"{name}.moved"], f"{name}.moved"))
        parts.append(f"{name}.moved")
    nodes.append(helper.make_node("Concat", parts, [out], f"{out}.parts", axis=CHANNEL))
    return nodes


def means_as_convolutions(graph: onnx.GraphProto) -> int:
    """Rewrite means over windows side by side, as in the shortcuts, as convolutions of each channel with itself.

    Returns:
        How many there were; what has padding, overlaps or is cut at the edge stays as it is.
    """
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.value_info}
    found = 0
    for place, node in enumerate(graph.node):
        if node.op_type != "AveragePool" or len(shape := shapes.get(node.input[0], [])) != 4 or not all(shape[1:]):
            continue
        said = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        kernel, (channels, *sides) = list(said["kernel_shape"]), shape[1:]
        whole = all(side % length == 0 for side, length in zip(sides, kernel, strict=True))
        if not whole or list(said.get("strides", [])) != kernel or any(said.get("pads", [])):
            continue
        weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
        inputs = [node.input[0], _add(graph, f"{node.output[0]}.mean", weight)]
        made = helper.make_node(
            "Conv", inputs, node.output, node.name, group=channels, kernel_shape=kernel, strides=kernel
        )
        graph.node[place].CopyFrom(made)
        found += 1
    return found


def _add(graph: onnx.GraphProto, name: str, values: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name
