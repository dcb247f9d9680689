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
    used = {name for node in graph.node for name in node.input}
    del graph.node[:]
    graph.node.extend(kept)
    arrays = [array for array in graph.initializer if array.name in used]
    del graph.initializer[:]
    graph.initializer.extend(arrays)
