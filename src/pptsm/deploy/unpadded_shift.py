"""The temporal shift of an exported graph without padding, which no runtime computes in 8 bits along time.

paddle2onnx writes the shift as Pad (a frame of zeros at either end) and three Slices. Here the first two parts take
their frames by Gather, and a factor of 0 makes the frame at the end one of zeros. Logits stay equal to the bit.
"""

import numpy as np
import onnx
from onnx import numpy_helper

PADS = [0, 1, 0, 0, 0, 0, 1, 0, 0, 0]  # of [N, T, C, H, W]: a frame before and after
TIME, CHANNEL = 1, 2


def shift_without_padding(graph: onnx.GraphProto) -> int:
    """Rewrite all temporal shifts of a graph whose constants are initialisers.

    Returns:
        How many there were; what looks otherwise stays as it is.
    """
    arrays = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    replaced: dict[str, list[onnx.NodeProto]] = {}  # by the first output of the node whose place they take
    for pad in graph.node:
        slices = readers.get(pad.output[0], [])
        if pad.op_type == "Pad" and _is_shift(pad, slices, arrays):
            replaced[pad.output[0]] = []
            for part in slices:
                replaced[part.output[0]] = _part(graph, pad.input[0], part, arrays)
    nodes = [new for node in graph.node for new in replaced.get(node.output[0] if node.output else "", [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    return sum(not new for new in replaced.values())


def _is_shift(pad: onnx.NodeProto, slices: list[onnx.NodeProto], arrays: dict[str, np.ndarray]) -> bool:
    said = arrays.get(pad.input[1]) if len(pad.input) == 2 else None  # a third input would be another value than 0
    return (
        said is not None
        and said.tolist() == PADS
        and bool(slices)
        and all(
            part.op_type == "Slice"
            and len(part.input) == 4
            and all(name in arrays for name in part.input[1:])
            and arrays[part.input[3]].tolist() == [TIME, CHANNEL]
            and arrays[part.input[1]][0] in (0, 1, 2)
            for part in slices
        )
    )


def _part(
    graph: onnx.GraphProto, source: str, part: onnx.NodeProto, arrays: dict[str, np.ndarray]
) -> list[onnx.NodeProto]:
    """The nodes that give what a slice of the padded clips gave."""
    (start, first), (stop, last) = arrays[part.input[1]], arrays[part.input[2]]
    out, segments = part.output[0], int(stop - start)

    def constant(what: str, values: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(values, f"{out}.{what}"))
        return f"{out}.{what}"

    bounds = [
        constant(name, np.array([value])) for name, value in (("first", first), ("last", last), ("axis", CHANNEL))
    ]
    channels = out if start == 1 else f"{out}.channels"
    nodes = [onnx.helper.make_node("Slice", [source, *bounds], [channels], f"{part.name}.channels")]
    if start != 1:
        frames = np.arange(segments) + int(start) - 1
        inside = ((frames >= 0) & (frames < segments)).astype(np.float32).reshape(1, -1, 1, 1, 1)
        taken = constant("frames", frames.clip(0, segments - 1))
        gathered = f"{out}.gathered"
        nodes += [
            onnx.helper.make_node("Gather", [channels, taken], [gathered], f"{part.name}.frames", axis=TIME),
            onnx.helper.make_node("Mul", [gathered, constant("inside", inside)], [out], f"{part.name}.inside"),
        ]
    return nodes
