"""Training for the ladder: each rung of integers, from the float network."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fxsim.errors import InputError
from fxsim.model.graph import Graph
from fxsim.quant.scheme import Scheme
from fxsim.train.loop import distil
from fxsim.train.network import from_graph
from fxsim.train.quantized import quantized

if TYPE_CHECKING:
    from fxsim.choose.data import Split


def trainer(
    epochs: int = 15, batch: int = 32, rate: float = 1e-3, numerics: str = "generic", seed: int = 0
) -> Callable[[Graph, Scheme, "Split"], Graph]:
    """What :func:`fxsim.ladder` takes as ``train``: quantization-aware training with the float network as teacher.

    Args:
        epochs: passes through the training examples.
        batch: examples of a step.
        rate: the greatest learning rate.
        numerics: whose integers are trained; ``generic`` has all numbers of bits and LiteRT's arithmetic.
        seed: of the order of examples.
    """

    def train(graph: Graph, scheme: Scheme, data: "Split") -> Graph:
        """The network of integers that ``graph`` becomes.

        Raises:
            InputError: if the data holds no examples to train with.
        """
        if data.train is None:
            raise InputError("training needs x_train and y_train; the data holds x and y only")
        teacher = from_graph(graph)
        student = quantized(teacher, data.calibration, scheme, numerics=numerics)
        distil(student, teacher, (data.train.x, data.train.y), epochs=epochs, batch=batch, rate=rate, seed=seed)
        return student.to_graph("integer")

    return train
