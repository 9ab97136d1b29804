"""Takes weights or whole channels out of a network, and says what that leaves."""

from fxsim.prune.channels import channels
from fxsim.prune.schedules import SCHEDULES, schedule
from fxsim.prune.weights import Sparsity, sparsity, weights

__all__ = ["SCHEDULES", "Sparsity", "channels", "schedule", "sparsity", "weights"]
