"""QONNX's quantizers inside a model, against QONNX's own execution: every bit."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.build_onnx import OnnxBuilder
from tests.live.cases import explore, shapes
from tests.onnx.cases import OnnxTally, simulated

MODES = ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


def qonnx(content: bytes, inputs: Any, version: int) -> list[Any]:
    """The outputs by ``qonnx.core.onnx_exec``, with the domain's operators in that version."""
    pytest.importorskip("qonnx", reason="needs qonnx (the test extra)")
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imports of onnxruntime and qonnx warn about themselves
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx

        model = onnx.load_from_string(content)
        for opset in model.opset_import:
            if opset.domain.startswith("qonnx"):
                opset.version = version
        wrapped = ModelWrapper(model).transform(_shapes())
        names = [i.name for i in wrapped.graph.input]
        return list(execute_onnx(wrapped, dict(zip(names, inputs, strict=True))).values())


def _shapes() -> Any:
    from qonnx.transformation.infer_shapes import InferShapes

    return InferShapes()


def hold(tally: OnnxTally, content: bytes, x: Any, version: int = 1) -> None:
    tally.cases += 1
    wanted = qonnx(content, [x], version)
    tally.hold(simulated(content, [x], "onnxruntime"), [w.astype(np.float32) for w in wanted])


SEEDS = st.integers(0, 1 << 30)


def values(seed: int, shape: tuple[int, ...], scale: float) -> Any:
    """Values of which many are halves of the scale."""
    rng = np.random.default_rng(seed)
    halves = (rng.integers(-40, 40, shape) * 0.5 * scale).astype(np.float32)
    return np.where(rng.integers(0, 2, shape) == 0, halves, rng.normal(0, 10 * scale, shape).astype(np.float32))


SCALES = st.integers(-5, 1).map(lambda e: 2.0**e) | st.sampled_from([0.3, 0.017, 1.7])


def test_quant(tallies):
    tally = tallies("Quant")

    def case(drawn: Any) -> None:
        seed, shape, scale, zero, bits, signed, narrow, mode, channels = drawn
        b, size = OnnxBuilder(17), (1, shape[1], *(1,) * (len(shape) - 2)) if channels else ()
        scales = np.float32(scale) * (1 + np.arange(int(np.prod(size))).reshape(size))
        ins = [b.input("x", shape, "float32"), b.constant(scales, "float32"), b.constant(zero, "float32")]
        ins.append(b.constant(bits, "float32"))
        b.op("Quant", ins, "y", signed=int(signed), narrow=int(narrow), rounding_mode=mode)
        hold(tally, b.finish({"y": "float32"}), values(seed, shape, scale))

    drawn = st.tuples(
        SEEDS, shapes(2, 4, 5), SCALES, st.sampled_from([0.0, 0.0, 3.0, 0.5]), st.integers(1, 9), st.booleans(),
        st.booleans(), st.sampled_from(MODES), st.booleans(),
    )  # fmt: skip
    explore(drawn, case, share=2)
    tally.check(4)


def test_bipolar_quant(tallies):
    tally = tallies("BipolarQuant")

    def case(drawn: Any) -> None:
        seed, shape, scale = drawn
        b = OnnxBuilder(17)
        b.op("BipolarQuant", [b.input("x", shape, "float32"), b.constant(scale, "float32")], "y")
        hold(tally, b.finish({"y": "float32"}), values(seed, shape, scale))

    explore(st.tuples(SEEDS, shapes(1, 4, 5), SCALES), case, share=0.5)
    tally.check(3)


@pytest.mark.parametrize("version", [1, 2])
def test_trunc(tallies, version):
    tally = tallies(f"Trunc version {version}")

    def case(drawn: Any) -> None:
        seed, shape, scale, zero, wide, narrow_bits, signed, narrow, mode = drawn
        b = OnnxBuilder(17)
        ins = [b.input("x", shape, "float32"), *(b.constant(v, "float32") for v in (scale, zero, float(wide)))]
        if version == 2:
            ins.append(b.constant(scale * 2.0 ** (wide - narrow_bits), "float32"))
        flags = {"signed": int(signed), "narrow": int(narrow)} if version == 2 else {}
        b.op("Trunc", [*ins, b.constant(float(narrow_bits), "float32")], "y", rounding_mode=mode, **flags)
        hold(tally, b.finish({"y": "float32"}), values(seed, shape, scale), version)

    drawn = st.tuples(
        SEEDS, shapes(1, 4, 5), SCALES, st.sampled_from([0.0, 0.0, 2.0]), st.integers(5, 9), st.integers(2, 5),
        st.booleans(), st.booleans(), st.sampled_from(MODES),
    )  # fmt: skip
    explore(drawn, case)
    tally.check(4)


def test_multi_threshold(tallies):
    tally = tallies("MultiThreshold")

    def case(drawn: Any) -> None:
        seed, shape, count, shared, scale, bias, layout = drawn
        rng = np.random.default_rng(seed)
        layout = layout[: len(shape)] if len(shape) == 4 else ""
        axis = layout.index("C") if layout else {2: 1, 3: 2, 4: 1}[len(shape)]
        thresholds = np.sort(np.round(rng.normal(0, 3, (1 if shared else shape[axis], count)) * 4) / 4, axis=1)
        b = OnnxBuilder(17)
        ins = [b.input("x", shape, "float32"), b.constant(thresholds, "float32")]
        options = {"out_dtype": "INT8", "out_scale": scale, "out_bias": bias} | (
            {"data_layout": layout} if layout else {}
        )
        b.op("MultiThreshold", ins, "y", **options)
        hold(tally, b.finish({"y": "float32"}), values(seed, shape, 0.5))

    drawn = st.tuples(
        SEEDS, shapes(2, 4, 5), st.integers(1, 15), st.booleans(), st.sampled_from([1.0, 0.5, 0.3]),
        st.sampled_from([0.0, -8.0, 0.1]), st.sampled_from(["NCHW", "NHWC"]),
    )  # fmt: skip
    explore(drawn, case)
    tally.check(4)
