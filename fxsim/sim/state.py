"""Resource variables: what a streaming model keeps from one inference to the next.

The plan resolves handles to names when it is built; at run time the state is a dict that the run owns.
"""

from fxsim.errors import ModelError
from fxsim.model.graph import Graph, Node
from fxsim.model.ops.state import VarHandle


def variable_names(graph: Graph) -> dict[int, str]:
    """Handle tensor -> name of its variable."""
    names = {}
    for node in graph.nodes:
        if node.op == "VAR_HANDLE" and isinstance(node.attributes, VarHandle):
            names[node.outputs[0]] = f"{node.attributes.container}/{node.attributes.shared_name}"
    return names


def variable(names: dict[int, str], node: Node) -> str:
    """The variable that a READ_VARIABLE or ASSIGN_VARIABLE works on."""
    if node.inputs[0] not in names:
        raise ModelError("works on a resource that no VAR_HANDLE makes")
    return names[node.inputs[0]]
