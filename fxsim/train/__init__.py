"""Training on the very integers that an engine computes: fine-tuning, distillation, binary and ternary weights.

    >>> from fxsim import train
    >>> net = train.Network(fxsim.read("float.tflite"))            # its constants are parameters
    >>> train.fine_tune(net, (x, y), epochs=30)
    >>> quantized = train.quantized(net, x[:256], scheme="int4")   # its forward pass is the simulator
    >>> train.distil(quantized, net, (x, y))
    >>> fxsim.simulate(quantized.to_graph(), x_test)               # equals quantized(x_test), integer for integer

Needs torch, which the extra ``fxsim[torch]`` brings.
"""

from fxsim.errors import FxsimError

try:
    import torch as _torch
except ImportError:
    raise FxsimError('training needs torch, which is not installed: pip install "fxsim[torch]"') from None

from fxsim.train.loop import Epoch, distil, fine_tune
from fxsim.train.network import Network, from_graph
from fxsim.train.quantized import QuantizedNetwork, quantized
from fxsim.train.rungs import trainer
from fxsim.train.sensitivity import sensitivity

__all__ = [
    "Epoch",
    "Network",
    "QuantizedNetwork",
    "distil",
    "fine_tune",
    "from_graph",
    "quantized",
    "sensitivity",
    "trainer",
]
_ = _torch
