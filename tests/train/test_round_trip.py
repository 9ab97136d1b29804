"""From PyTorch to files that engines run: a network, trained, exported, read, quantized and written; a whole test set."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sklearn", reason="needs scikit-learn")
pytest.importorskip("ai_edge_litert")
ort = pytest.importorskip("onnxruntime")

import fxsim  # noqa: E402
from fxsim.exporters.tflite import encode  # noqa: E402
from tests import engines  # noqa: E402
from tests.quant import digits  # noqa: E402

LITERT = {
    "litert-reference": engines.litert_reference_sequence,
    "litert-xnnpack": engines.litert_xnnpack_sequence,
}


class Residual(torch.nn.Module):
    """Convolutions with batch norm, a residual, a depthwise layer, global pooling."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.first = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12))
        self.third = nn.Sequential(
            nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12), nn.ReLU6(), nn.Conv2d(12, 24, 1), nn.ReLU()
        )
        self.last = nn.Linear(24, 10)

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(x + self.second(x))
        return self.last(self.third(x).mean((2, 3)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The network as a file of ONNX, and what PyTorch computes on the test set."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    d = digits.data()
    model, x = Residual(), torch.from_numpy(d.x_train.transpose(0, 3, 1, 2).copy())
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(48):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), torch.from_numpy(d.y_train)[rows]).backward()
            optimizer.step()
    model.eval()
    path = tmp_path_factory.mktemp("torch") / "digits.onnx"
    with warnings.catch_warnings():  # of its own age
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(model, (x[:1],), str(path), dynamo=False, input_names=["image"], output_names=["scores"])
    test = d.x_test.transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        return path, test, model(torch.from_numpy(test)).numpy(), d


def test_the_float_network_is_pytorchs(trained):
    path, x, wanted, d = trained
    made = next(iter(fxsim.simulate(fxsim.read(path), x, "float32").outputs.values()))
    assert np.max(np.abs(made - wanted)) <= 1e-5 * np.max(np.abs(wanted))
    assert np.mean(wanted.argmax(1) == d.y_test) > 0.75


@pytest.mark.parametrize("io", ["float32", "integer"])
@pytest.mark.parametrize("scheme", ["int8", "int8-per-tensor", "int16x8", "int4", "int8+equalize+bias"])
def test_every_bit_on_the_whole_test_set(trained, scheme, io):
    path, x, wanted, d = trained
    calibration = d.x_train[:128].transpose(0, 3, 1, 2)
    q = fxsim.quantize(fxsim.read(path), calibration, scheme, io=io)
    source = q.tensors[q.inputs[0]]
    given = x if source.quant is None else source.quant.quantize(x, source.qtype)
    given = given.reshape(-1, *source.shape)
    for numerics, engine in LITERT.items():
        mine = next(iter(fxsim.simulate(q, given, numerics).outputs.values())).reshape(len(given), -1)
        live = engine(encode(q), [[one] for one in given])
        theirs = np.stack([(r[q.outputs[0]] if isinstance(r, dict) else r[0]).reshape(-1) for r in live])
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs), (
            f"{numerics}: {np.sum(mine != theirs)} differ"
        )
        if scheme == "int8":
            out = q.tensors[q.outputs[0]]
            scores = mine if out.quant is None else out.quant.dequantize(mine)
            assert np.mean(scores.argmax(1) == wanted.argmax(1)) > 0.97


@pytest.mark.parametrize("style", ["qdq", "qoperator"])
@pytest.mark.parametrize("scheme", ["int8", "int8-per-tensor", "int4"])
def test_onnx_runtime_runs_the_same_bits(trained, tmp_path, scheme, style):
    path, x, _, d = trained
    q = fxsim.quantize(fxsim.read(path), d.x_train[:128].transpose(0, 3, 1, 2), scheme, io="integer")
    file = fxsim.export(q, tmp_path / "m.onnx", style=style)
    back = fxsim.read(file)
    source = back.tensors[back.inputs[0]]
    mine_in = q.tensors[q.inputs[0]].quant.quantize(x, q.tensors[q.inputs[0]].qtype)
    given = mine_in.astype(np.int16) - q.tensors[q.inputs[0]].qtype.min + source.qtype.min
    given = given.astype(source.qtype.dtype).reshape(-1, *source.shape)
    mine = next(iter(fxsim.simulate(back, given, "onnxruntime").outputs.values())).reshape(len(given), -1)
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    theirs = np.stack([session.run(None, {entry.name: one})[0].reshape(-1) for one in given])
    assert np.array_equal(mine, theirs), f"{np.sum(mine != theirs)} of {mine.size} differ"
