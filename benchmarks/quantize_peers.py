"""Accuracy after 8-bit quantization: fxsim, ONNX Runtime and ai-edge-quantizer on the same network, data and bits.

    python -m benchmarks.quantize_peers [--seeds 5]

Writes ``reports/quantize_peers.md``. A small network on scikit-learn's digits; fxsim's figures are those of the integers,
computed bit for bit as LiteRT's reference kernels, the peers' are of their engines.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

import fxsim
from fxsim.files import atomic_write
from fxsim.model.graph import Graph
from fxsim.quant.calibration import calibrate
from tests.quant import digits

CALIBRATED = 256
METHODS = {"min-max": "min_max", "entropy": "entropy", "percentile": "percentile"}
ROOT = Path(__file__).resolve().parent.parent


def ours(graph: Graph, d: digits.Digits) -> dict[str, float]:
    """fxsim, by calibration method and scheme."""
    from fxsim.quant import SCHEMES

    seen, found = calibrate(graph, d.x_train[:CALIBRATED]), {}
    for name, method in {**METHODS, "mse": "mse"}.items():
        scheme = dataclasses.replace(SCHEMES["int8"], calibration=method)
        found[f"fxsim int8, {name}"] = _simulated(fxsim.quantize(graph, scheme=scheme, calibrated=seen), d)
    for scheme in ("int8+bias", "int4", "int4+adaround+bias", "dynamic"):
        numerics = "generic" if scheme == "dynamic" else "litert-reference"
        found[f"fxsim {scheme}"] = _simulated(fxsim.quantize(graph, d.x_train[:CALIBRATED], scheme), d, numerics)
    return found


def _simulated(q: Graph, d: digits.Digits, numerics: str = "litert-reference") -> float:
    (made,) = fxsim.simulate(q, d.x_test, numerics).outputs.values()
    return digits.accuracy(made, d.y_test)


def onnxruntime(path: Path, d: digits.Digits) -> dict[str, float]:
    """ONNX Runtime's static quantization, QDQ, per channel."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(d.x_train[:CALIBRATED, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.left, None)
            return None if x is None else {"image": x}

    ways = {
        "min-max": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    found = {}
    for name, method in ways.items():
        out = path.with_name(f"ort_{name}.onnx")
        quantize_static(
            str(path), str(out), Reader(), per_channel=True, calibrate_method=method, activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )  # fmt: skip
        found[f"ONNX Runtime int8, {name}"] = _onnx(out, d)
    return found


def _onnx(path: Path, d: digits.Digits) -> float:
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return digits.accuracy(np.concatenate([session.run(None, {"image": x[None]})[0] for x in d.x_test]), d.y_test)


def ai_edge(path: Path, d: digits.Digits) -> dict[str, float]:
    """ai-edge-quantizer's static and dynamic int8."""
    from ai_edge_quantizer import quantizer, recipe

    found = {}
    path.write_bytes(_with_signature(path.read_bytes()))
    data = {"serving_default": [{"image": x[None]} for x in d.x_train[:CALIBRATED]]}
    for name, chosen in (("int8, static", recipe.static_wi8_ai8()), ("dynamic", recipe.dynamic_wi8_afp32())):
        q = quantizer.Quantizer(str(path), chosen)
        seen = q.calibrate(data) if "static" in name else None
        model = q.quantize(seen).quantized_model
        found[f"ai-edge-quantizer {name}"] = _litert(bytes(model), d)
    return found


def _with_signature(content: bytes) -> bytes:
    """The model with the signature that ai-edge-quantizer asks for."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    for side, indices, name in (("inputs", graph.inputs, b"image"), ("outputs", graph.outputs, b"output")):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(indices[0])
        setattr(signature, side, [entry])
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _litert(content: bytes, d: digits.Digits) -> float:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    engine = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    engine.allocate_tensors()
    source, target = engine.get_input_details()[0], engine.get_output_details()[0]["index"]
    scale, zero = source["quantization"]
    made = []
    for x in d.x_test:
        given = x if not scale else np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)
        engine.set_tensor(source["index"], given[None])
        engine.invoke()
        made.append(engine.get_tensor(target).copy())
    return digits.accuracy(np.concatenate(made), d.y_test)


def measure(seed: int) -> dict[str, float]:
    """Accuracy by quantizer, for one trained network."""
    graph, d = digits.graph(seed), digits.data()
    (real,) = fxsim.simulate(graph, d.x_test, "float32").outputs.values()
    found = {"float32": digits.accuracy(real, d.y_test)} | ours(graph, d)
    peers: list[tuple[Callable[[Path, digits.Digits], dict[str, float]], str]] = [
        (onnxruntime, ".onnx"),
        (ai_edge, ".tflite"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for peer, suffix in peers:
            try:
                found |= peer(fxsim.export(graph, Path(folder) / f"digits{suffix}"), d)
            except Exception as e:  # a peer that cannot take the model is a result, too
                print(f"{peer.__name__}: {type(e).__name__}: {e}"[:300], file=sys.stderr)
    return found


def main() -> None:
    """Measures all seeds and writes the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    rows: dict[str, list[float]] = {}
    for seed in seeds:
        for name, accuracy in measure(seed).items():
            rows.setdefault(name, []).append(100 * accuracy)
    lines = [
        "# Accuracy beside other quantizers", "",
        f"`python -m benchmarks.quantize_peers --seeds {len(seeds)}`: two convolutions, a depthwise one and two dense",
        f"layers, on scikit-learn's digits, {CALIBRATED} images to calibrate with, {len(digits.data().y_test)} to test with.",
        f"Percent of test images, over {len(seeds)} trained networks. ONNX Runtime {version('onnxruntime')},",
        f"ai-edge-quantizer {version('ai-edge-quantizer')}. fxsim's figures are of the integers, bit for bit.", "",
        "| quantizer | mean | least | most | mean loss |", "|---|---|---|---|---|",
    ]  # fmt: skip
    real = np.array(rows["float32"])
    for name, values in rows.items():
        v = np.array(values)
        lines.append(
            f"| {name} | {v.mean():.2f} | {v.min():.2f} | {v.max():.2f} | {(real[: len(v)] - v).mean():+.2f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    atomic_write(ROOT / "reports" / "quantize_peers.md", text.encode())


if __name__ == "__main__":
    main()
