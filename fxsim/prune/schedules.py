"""How much is pruned at which step of a training."""

from collections.abc import Callable

from fxsim.errors import FxsimError, listed

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda p: 1.0,
    "linear": lambda p: p,
    "cubic": lambda p: 1.0 - (1.0 - p) ** 3,
}
"""name -> the share of the final sparsity at progress 0..1

Source: ``cubic`` is equation 1 of Zhu and Gupta, "To prune, or not to prune", arXiv:1710.01878 (from zero).
"""


def schedule(step: int, steps: int, final: float, shape: str = "cubic", begin: int = 0) -> float:
    """The sparsity at ``step`` of ``steps``: ``final * shape((step - begin) / (steps - begin))``, 0 before ``begin``.

    Raises:
        FxsimError: on an unknown shape, a sparsity outside [0, 1), or a beginning that is not before the end.
    """
    if shape not in SCHEDULES:
        raise FxsimError(f"schedule: shape is {shape!r}; allowed: {listed(SCHEDULES)}")
    if not 0 <= final < 1:
        raise FxsimError(f"schedule: final is {final!r}; allowed: at least 0, below 1")
    if not 0 <= begin < steps:
        raise FxsimError(f"schedule: begin is {begin!r}; allowed: 0..{steps - 1}")
    if step < begin:
        return 0.0
    return final * SCHEDULES[shape](min(1.0, (step - begin) / (steps - begin)))
