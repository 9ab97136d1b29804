"""How much the loss would change without each weight: scores for pruning."""

import numpy as np
import torch
from torch.nn import functional

from fxsim.model.qtype import Array
from fxsim.train.data import Batches, Data
from fxsim.train.network import Network
from fxsim.train.quantized import QuantizedNetwork


def sensitivity(model: Network | QuantizedNetwork, data: Data, batch: int = 64) -> dict[int, Array]:
    """``|w * dL/dw|`` of every weight, by tensor index: the first-order change of the mean loss ``L`` without it.

    ``fxsim.prune.weights(graph, 0.5, method=sensitivity(model, data))`` takes it as scores.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017.

    Raises:
        InputError: if data and model do not fit.
    """
    network = model.network if isinstance(model, QuantizedNetwork) else model
    weights = dict(network.weights())
    total, seen = {i: torch.zeros_like(w) for i, w in weights.items()}, 0
    for x, labels in Batches(data, batch, seed=0):
        loss = functional.cross_entropy(model.scores(x), labels.to(network.device))
        slopes = torch.autograd.grad(loss, list(weights.values()))
        for i, slope in zip(weights, slopes, strict=True):
            total[i] += slope * len(labels)
        seen += len(labels)
    return {
        i: (weights[i].detach() * slope / seen).abs().cpu().numpy().astype(np.float64) for i, slope in total.items()
    }
