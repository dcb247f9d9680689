"""Where an exported file keeps its weights."""

import onnx


def constants_to_initialisers(graph: onnx.GraphProto) -> None:
    """Weights where tools look for them, ONNX Runtime's quantiser among them: paddle2onnx writes constant nodes."""
    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.attribute[0].name != "value":
            kept.append(node)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)
    drop_unused(graph)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out the initialisers that no node reads: ONNX Runtime warns of each whenever it opens the file."""
    used = {name for node in graph.node for name in node.input}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in used:
            del graph.initializer[place]
