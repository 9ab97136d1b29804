"""Which layers of a network a delegate takes from the engine that it is part of.

A profile with a delegate computes those layers with the delegate's settings, all others with its own.
"""

from collections.abc import Callable

from fxsim.model.graph import Graph, Node


def _xnnpack(graph: Graph, node: Node) -> bool:
    """True if the XNNPACK delegate takes the layer.

    Source: tflite/delegates/xnnpack/xnnpack_delegate.cc @ LiteRT 2.3.0.
    """
    return False


DELEGATES: dict[str, Callable[[Graph, Node], bool]] = {"xnnpack": _xnnpack}


def takes(delegate: str, graph: Graph, node: Node) -> bool:
    """True if ``delegate`` computes ``node``."""
    return DELEGATES[delegate](graph, node)
