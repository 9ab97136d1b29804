"""The training loop: fine-tuning of float and quantized networks, after pruning too, and distillation."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxsim.errors import FxsimError, InputError, listed
from fxsim.train.data import Batches, Data
from fxsim.train.network import Inputs, Network
from fxsim.train.quantized import QuantizedNetwork

Precision = Literal["float32", "bfloat16", "float16"]
Progress = Callable[[int], None]


class Scored(Protocol):
    """What gives logits: :class:`Network`, :class:`QuantizedNetwork`."""

    def scores(self, x: Inputs) -> Tensor:
        """The logits ``(N, classes)``."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass through the data left."""

    epoch: int
    loss: float
    """mean over the pass"""
    accuracy: float
    """share of the pass whose greatest logit was the label's, before each step"""


def _checked(scores: Tensor, labels: Tensor) -> None:
    if labels.shape != scores.shape[:1]:
        raise InputError(f"{len(scores)} inferences with labels {list(labels.shape)}; allowed: a label for each")
    if int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]:
        raise InputError(f"labels hold {int(labels.min())}..{int(labels.max())}; allowed: 0..{scores.shape[1] - 1}")


def _groups(model: nn.Module, rate: float, step_rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameters by how they move: weights decay, biases and other vectors do not, step sizes have a rate of their own."""
    learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    steps = [p for n, p in learned if n.startswith("log2_steps.")]
    rest = [p for n, p in learned if not n.startswith("log2_steps.")]
    return [
        {"params": [p for p in rest if p.dim() > 1], "lr": rate, "weight_decay": decay},
        {"params": [p for p in rest if p.dim() <= 1], "lr": rate, "weight_decay": 0.0},
        {"params": steps, "lr": step_rate, "weight_decay": 0.0},
    ]


def distillation_loss(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(scores / T))``, the mean over the batch.

    Source: Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    soft, hard = functional.log_softmax(scores / temperature, 1), functional.log_softmax(teacher / temperature, 1)
    return functional.kl_div(soft, hard, reduction="batchmean", log_target=True) * temperature**2


def fine_tune(
    model: Network | QuantizedNetwork,
    data: Data,
    *,
    epochs: int = 10,
    batch: int = 64,
    rate: float = 1e-3,
    step_rate: float | None = None,
    weight_decay: float = 1e-4,
    seed: int = 0,
    precision: Precision = "float32",
    keep_zeros: bool = True,
    teacher: Scored | None = None,
    temperature: float = 2.0,
    soft_share: float = 0.9,
    progress: Progress | None = None,
) -> list[Epoch]:
    """Trains ``model`` in place: AdamW, the rate falling along half a cosine, cross entropy of its scores.

    A model with a SOFTMAX at its end is trained on what goes into it. The same seed, data and number of threads give the
    same weights.

    Args:
        model: a float network, or one of integers (quantization-aware).
        data: ``(x, labels)``, or an iterable of such batches, such as a ``DataLoader`` (its order is its own).
        epochs: passes through the data.
        batch: inferences a step, for arrays.
        rate: learning rate at the start.
        step_rate: that of the binary logarithms of step sizes; by default ``rate``.
        weight_decay: of weights alone.
        seed: of the order of the data.
        precision: ``bfloat16`` and ``float16`` compute products of real functions so; parameters stay float32, and losses
            of ``float16`` are scaled so that small slopes are not lost. The integers of a quantized network do not change.
        keep_zeros: weights that are zero at the start (pruned) stay zero.
        teacher: whose scores are learned too, see :func:`distil`.
        temperature: of the soft loss.
        soft_share: of the soft loss in the whole.
        progress: called with the number of epochs done.

    Raises:
        InputError: if data and model do not fit; FxsimError: if the loss is no number (epoch and step are said).
    """
    passes = Batches(data, batch, seed)
    if precision not in ("float32", "bfloat16", "float16"):
        raise FxsimError(f"precision is {precision!r}; allowed: {listed(('float32', 'bfloat16', 'float16'))}")
    if epochs < 0 or batch < 1 or not rate > 0 or not temperature > 0 or not 0 <= soft_share <= 1:
        raise FxsimError(
            f"fine_tune: epochs {epochs}, batch {batch}, rate {rate}, temperature {temperature}, soft_share {soft_share}; "
            "allowed: at least 0, at least 1, above 0, above 0, 0..1"
        )
    network = model.network if isinstance(model, QuantizedNetwork) else model
    device = network.device
    optimizer = torch.optim.AdamW(_groups(model, rate, rate if step_rate is None else step_rate, weight_decay))
    total = max(1, epochs * len(passes))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5 * (1 + math.cos(math.pi * n / total)))
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    low = torch.autocast(device.type, getattr(torch, precision)) if precision != "float32" else nullcontext()
    present = {p: (p != 0).to(p.dtype) for _, p in network.weights()} if keep_zeros else {}
    history = []
    for epoch in range(epochs):
        losses, right, seen = 0.0, 0, 0
        for step, (x, y) in enumerate(passes):
            labels = y.to(device)
            with low:
                scores = model.scores(x)
            _checked(scores, labels)
            loss = functional.cross_entropy(scores.float(), labels)
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher.scores(x).float()
                loss = (1 - soft_share) * loss + soft_share * distillation_loss(scores.float(), taught, temperature)
            if not torch.isfinite(loss):
                raise FxsimError(f"training: the loss is {loss.item()} in epoch {epoch}, step {step}; try a lower rate")
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            if scaler.get_scale() >= before:  # else the step was left out: its slopes were beyond the range
                schedule.step()
            with torch.no_grad():
                for p, mask in present.items():
                    p.mul_(mask)
            losses += loss.item() * len(labels)
            right += int((scores.argmax(1) == labels).sum())
            seen += len(labels)
        history.append(Epoch(epoch, losses / max(1, seen), right / max(1, seen)))
        if progress is not None:
            progress(epoch + 1)
    return history


def distil(
    student: Network | QuantizedNetwork,
    teacher: Scored,
    data: Data,
    *,
    temperature: float = 2.0,
    soft_share: float = 0.9,
    **options: Any,  # noqa: ANN401
) -> list[Epoch]:
    """Trains ``student`` on the scores of ``teacher`` and on labels.

    ``loss = soft_share * T^2 * KL(teacher / T || student / T) + (1 - soft_share) * cross_entropy``; ``options`` are those
    of :func:`fine_tune`.
    """
    return fine_tune(student, data, teacher=teacher, temperature=temperature, soft_share=soft_share, **options)
