import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch (the torch extra)")

import torch
from torch.utils.data import DataLoader, TensorDataset

from fxsim import prune
from fxsim.errors import FxsimError, InputError
from fxsim.train import Network, distil, fine_tune, quantized, sensitivity
from fxsim.train.loop import distillation_loss
from tests.train.layers import draw


@pytest.fixture(scope="module")
def task():
    """A network, inputs, and labels that another network of the same layers gives them."""
    graph, inputs = draw("residual", 2, count=96)
    teacher = Network(graph)
    with torch.no_grad():
        for p in teacher.parameters():
            p += 0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
        labels = teacher.scores(inputs[0]).argmax(1).numpy()
    assert len(set(labels)) > 1
    return graph, inputs[0], labels


def test_loss_falls_and_history_says_so(task):
    graph, x, y = task
    done = []
    net = Network(graph)
    history = fine_tune(net, (x, y), epochs=15, batch=32, rate=0.02, progress=done.append)
    assert [h.epoch for h in history] == list(range(15))
    assert done == list(range(1, 16))
    assert history[-1].loss < 0.7 * history[0].loss
    assert history[-1].accuracy > history[0].accuracy
    with torch.no_grad():
        assert np.mean(net.scores(x).argmax(1).numpy() == y) > 0.8


@pytest.mark.parametrize("make", [Network, lambda g: quantized(g, X[0], "int4")], ids=["float", "integers"])
def test_same_seed_same_weights(task, make):
    graph, x, y = task
    X[0] = x
    ends = []
    for seed in (3, 3, 4):
        model = make(graph)
        fine_tune(model, (x, y), epochs=2, batch=16, seed=seed)
        ends.append(torch.cat([p.detach().double().reshape(-1) for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


X = [None]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_trains_float32_weights(task, precision):
    graph, x, y = task
    whole, low = Network(graph), Network(graph)
    fine_tune(whole, (x, y), epochs=8, rate=0.02)
    history = fine_tune(low, (x, y), epochs=8, rate=0.02, precision=precision)
    assert history[-1].loss < 0.9 * history[0].loss
    assert all(p.dtype == torch.float32 for p in low.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), low.parameters(), strict=True))
    model = quantized(low, x)
    fine_tune(model, (x, y), epochs=2, precision=precision)


def test_pruned_weights_stay_zero(task):
    graph, x, y = task
    sparse = prune.weights(graph, 0.5)
    for model in (Network(sparse), quantized(sparse, x)):
        net = getattr(model, "network", model)
        zero = {i: (w == 0).clone() for i, w in net.weights()}
        assert sum(int(z.sum()) for z in zero.values()) > 10
        fine_tune(model, (x, y), epochs=3, rate=0.01)
        for i, w in net.weights():
            assert torch.all(w[zero[i]] == 0)
            assert torch.all(w[~zero[i]] != 0)
        made = model.to_graph()
        for i, z in zero.items():
            assert not np.any(made.tensors[i].data[z.numpy()])
    free = Network(sparse)
    fine_tune(free, (x, y), epochs=1, rate=0.01, keep_zeros=False)
    assert any(torch.any(w[zero[i]] != 0) for i, w in free.weights())


def test_sensitivity_is_the_change_of_the_loss(task):
    graph, x, y = task
    net = Network(graph)
    scores = sensitivity(net, (x, y))
    (i, w), *_ = net.weights()
    assert set(scores) == {j for j, _ in net.weights()}
    assert scores[i].shape == tuple(w.shape)

    def loss():
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(net.scores(x).double(), torch.from_numpy(y)).item()

    at = np.unravel_index(scores[i].argmax(), w.shape)
    before, value = loss(), w[at].item()
    with torch.no_grad():
        w[at] = value * (1 - 1e-2)
    assert np.isclose(abs(loss() - before) / 1e-2, scores[i][at], rtol=0.1)
    assert prune.weights(graph, 0.25, scores).tensors[i].data.size == w.numel()


def test_distillation_loss_by_hand():
    a, b, t = np.array([[1.0, 2.0, 0.0]]), np.array([[0.5, 0.5, 3.0]]), 2.0

    def soft(z):
        e = np.exp(z / t)
        return e / e.sum()

    expected = t**2 * np.sum(soft(b) * (np.log(soft(b)) - np.log(soft(a))))
    assert np.isclose(distillation_loss(torch.tensor(a), torch.tensor(b), t).item(), expected)


def test_a_student_comes_near_its_teacher(task):
    graph, x, y = task
    teacher = Network(graph)
    fine_tune(teacher, (x, y), epochs=10, rate=0.02)
    before = copy.deepcopy(teacher.state_dict())
    student = quantized(graph, x, "int4")

    def apart():
        with torch.no_grad():
            return distillation_loss(student.scores(x), teacher.scores(x), 2.0).item()

    first = apart()
    distil(student, teacher, (x, y), epochs=10, rate=0.01, temperature=2.0, soft_share=0.9)
    assert apart() < 0.5 * first
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_batches_from_a_loader(task):
    graph, x, y = task
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=32)
    history = fine_tune(Network(graph), loader, epochs=3, rate=0.02)
    assert history[-1].loss < history[0].loss


def test_a_loss_that_is_no_number_is_said(task):
    graph, x, y = task
    broken = x.copy()
    broken[:] = np.nan
    with pytest.raises(FxsimError, match="the loss is nan in epoch 0, step 0"):
        fine_tune(Network(graph), (broken, y), epochs=1)
    with pytest.raises(FxsimError, match=r"the loss is (nan|inf) in epoch \d+, step \d+"):
        fine_tune(Network(graph), (x, y), epochs=50, rate=1e18)


def test_what_does_not_fit_is_said(task):
    graph, x, y = task
    net = Network(graph)
    with pytest.raises(InputError, match=r"inputs hold \[95\] rows, labels 96"):
        fine_tune(net, (x[1:], y))
    with pytest.raises(InputError, match=r"labels are float64 \[96\]"):
        fine_tune(net, (x, y.astype(float)))
    with pytest.raises(InputError, match=r"labels hold 0\.\.4; allowed: 0\.\.3"):
        fine_tune(net, (x, np.where(y == y[0], 4, 0)), batch=96)
    with pytest.raises(InputError, match="can be read once"):
        fine_tune(net, iter([(x, y)]))
    with pytest.raises(InputError, match="holds no batch"):
        fine_tune(net, [])
    with pytest.raises(InputError, match=r"96 inferences with labels \[95\]"):
        fine_tune(net, [(x, y[1:])])
    with pytest.raises(InputError, match="tuple of 3"):
        fine_tune(net, (x, y, y))
    with pytest.raises(InputError, match="input 't0' has shape"):
        fine_tune(net, (x[..., :0], y))
    with pytest.raises(FxsimError, match="precision is 'int3'"):
        fine_tune(net, (x, y), precision="int3")
    with pytest.raises(FxsimError, match="soft_share 2"):
        distil(net, net, (x, y), soft_share=2)
    with pytest.raises(InputError, match="one row of classes"):
        wide, inputs = draw("conv", 3)
        fine_tune(Network(wide), (inputs[0], np.zeros(len(inputs[0]), int)))
