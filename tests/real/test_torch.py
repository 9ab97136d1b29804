"""Networks from PyTorch, by both of its exporters, in float32: against ONNX Runtime and PyTorch itself."""

import logging

import numpy as np
import pytest

import fxsim
from tests.real.conftest import error

torch = pytest.importorskip("torch", reason="needs the extra: pip install fxsim[torch]")
pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]
nn = torch.nn
BOUND = 1e-5


def cnn():
    """Convolutions of every kind, batch normalization, pools, activations, resizing."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, stride=2, groups=8, padding=1), nn.Hardswish(), nn.MaxPool2d(2)),
        *(nn.ConvTranspose2d(8, 4, 2, stride=2), nn.GELU(), nn.PReLU(4), nn.AvgPool2d(2, padding=1)),
        *(nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(4, 5), nn.LogSoftmax(1)),
    )


class Encoder(nn.Module):
    """Embedding, attention, layer normalization, dense: a small BERT."""

    def __init__(self):
        super().__init__()
        self.table, self.place = nn.Embedding(50, 16), nn.Parameter(torch.randn(12, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(16, 3)

    def forward(self, ids):
        return self.out(self.layers(self.table(ids) + self.place).mean(1))


class Causal(nn.Module):
    """Attention under a mask, whose infinities stand in the file."""

    def __init__(self):
        super().__init__()
        self.qkv, self.norm = nn.Linear(16, 48), nn.LayerNorm(16)

    def forward(self, x):
        q, k, v = (t.view(1, -1, 4, 4).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(x.shape)


class Unet(nn.Module):
    """A skip connection around a smaller image, group and instance normalization."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.up, self.c = nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(8, 1, 3, padding="same")
        self.g, self.i = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)

    def forward(self, x):
        a = nn.functional.silu(self.g(self.a(x)))
        b = nn.functional.leaky_relu(self.i(self.b(a)))
        return torch.sigmoid(self.c(torch.cat([a, self.up(b)], 1)))


NETWORKS = {
    "cnn": (cnn, lambda: torch.randn(1, 3, 16, 16)),
    "encoder": (Encoder, lambda: torch.randint(0, 50, (1, 12))),
    "causal": (Causal, lambda: torch.randn(1, 6, 16)),
    "unet": (Unet, lambda: torch.randn(1, 1, 8, 8)),
}


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("name", NETWORKS)
def test_export(name, dynamo, tmp_path):
    """Measured: at most 3e-7."""
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.manual_seed(0)
    make, draw = NETWORKS[name]
    net, path = make().eval(), tmp_path / f"{name}.onnx"
    torch.onnx.export(
        net, (draw(),), path, dynamo=dynamo, verbose=False, **({"external_data": False} if dynamo else {})
    )
    xs = [draw() for _ in range(3)]
    x = np.concatenate([v.numpy() for v in xs])
    got = next(iter(fxsim.simulate(fxsim.read(path), x, "float32").outputs.values()))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name
    assert error(got, np.concatenate([session.run(None, {key: v.numpy()})[0] for v in xs])) < BOUND
    with torch.no_grad():
        assert error(got, np.concatenate([net(v).numpy() for v in xs])) < BOUND
