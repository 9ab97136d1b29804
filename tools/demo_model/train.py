"""Train and quantize the demo model; record what two engines compute for it.

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# Read by TensorFlow when it is imported: fewer messages, plain float kernels.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorflow.lite.python import schema_py_generated as schema
from tflite_micro import runtime as tflm

Int8Array = npt.NDArray[np.int8]
Float32Array = npt.NDArray[np.float32]
Recording = dict[int, Int8Array]

SEED = 20240
EPOCHS, BATCH_SIZE = 120, 32
TEST_FRACTION = 0.25
INPUT_SHAPE = (1, 8, 8, 1)
MAX_TOTAL_BYTES = 200_000
MIN_ACCURACY = 0.97
FIRST_INPUTS = 48
PARTING_INPUTS = 8
PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "ai-edge-litert", "tflite-micro")


class OpInfo(NamedTuple):
    """One operator of the .tflite file and the one tensor that it writes."""

    tensor: int
    op: str
    name: str
    shape: tuple[int, ...]


def build_model() -> keras.Model:
    """Build the float network: residual convolutions, pooling, two dense layers."""
    layers = keras.layers
    image = keras.Input(INPUT_SHAPE[1:], name="image")
    stem = layers.Conv2D(8, 3, activation="relu", name="conv1")(image)
    branch = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(stem)
    x = layers.Add(name="residual_add")([stem, branch])
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise1")(x)
    x = layers.Conv2D(16, 1, activation="relu", name="pointwise1")(x)
    x = layers.MaxPooling2D(2, name="max_pool1")(x)
    x = layers.Reshape((3 * 3 * 16,), name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="dense1")(x)
    x = layers.Dense(10, name="dense2")(x)
    return keras.Model(image, layers.Softmax(name="softmax")(x), name="digits")


def train(x: Float32Array, y: npt.NDArray[np.int64]) -> keras.Model:
    """Train the float network with a fixed seed and a cosine learning rate."""
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    model = build_model()
    steps = EPOCHS * -(-len(x) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-2)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return model


def quantize(model: keras.Model, samples: Float32Array) -> bytes:
    """Return the model as a .tflite file: int8 throughout, batch fixed at 1.

    Dense weights get one scale per tensor.  LiteRT's reference FULLY_CONNECTED
    then requantizes with a floating-point multiplier and TFLM with a
    fixed-point one, so the demo has a layer in which the two engines part.
    """
    signature = [tf.TensorSpec(INPUT_SHAPE, tf.float32, name="image")]
    serve = tf.function(lambda image: model(image, training=False), input_signature=signature)

    def representative() -> Iterator[list[Float32Array]]:
        for sample in samples:
            yield [sample[np.newaxis]]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return rename_tensors(converter.convert(), [layer.name for layer in model.layers[1:]])


def rename_tensors(content: bytes, layers: Sequence[str]) -> bytes:
    """Name each operator's output and constants after the layer it came from.

    The converter joins the names of all fused graph nodes.  The new names are
    shorter and overwrite the old ones in place; nothing else moves.
    """
    patched = bytearray(content)
    graph = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    outputs = {op.Outputs(0) for op in operators}
    for op, layer in zip(operators, layers, strict=True):
        constants = [i for i in op.InputsAsNumpy()[1:] if i not in outputs]
        suffixes = ("kernel", "bias") if len(constants) == 2 else ("shape",)
        names = {i: f"{layer}/{suffix}" for i, suffix in zip(constants, suffixes, strict=False)}
        for index, name in {op.Outputs(0): layer, **names}.items():
            table = graph.Tensors(index)._tab
            start = table.Indirect(table.Pos + table.Offset(10))  # the vtable slot of `name`
            size = int.from_bytes(patched[start : start + 4], "little")
            if len(name) > size:
                raise ValueError(f"no room for the name {name!r}")
            patched[start : start + 4] = len(name).to_bytes(4, "little")
            patched[start + 4 : start + 4 + size] = name.encode().ljust(size, b"\0")
    return bytes(patched)


def list_ops(content: bytes) -> list[OpInfo]:
    """List the operators of subgraph 0 with the tensor that each one writes."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    ops = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        (index,) = (int(i) for i in operator.outputs)
        tensor = model.subgraphs[0].tensors[index]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        shape = tuple(int(d) for d in tensor.shape)
        ops.append(OpInfo(index, kind, tensor.name.decode(), shape))
    return ops


def record(content: bytes, inputs: Int8Array, tensors: list[int]) -> dict[str, Recording]:
    """Run one inference per input on both engines and stack each tensor on axis 0."""
    first = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    first.allocate_tensors()
    input_index = first.get_input_details()[0]["index"]
    config = tflm.InterpreterConfig.kPreserveAllTensors
    second = tflm.Interpreter.from_bytes(content, intrepreter_config=config)
    seen: dict[str, dict[int, list[Int8Array]]] = {
        name: {index: [] for index in tensors} for name in ("litert_reference", "tflm")
    }
    for image in inputs[:, np.newaxis]:
        first.set_tensor(input_index, image)
        first.invoke()
        second.set_input(image, 0)
        second.invoke()
        for index in tensors:
            seen["litert_reference"][index].append(first.get_tensor(index))
            seen["tflm"][index].append(np.array(second.GetTensor(index, 0)["tensor_data"]))
    return {
        name: {index: np.concatenate(values) for index, values in recording.items()} for name, recording in seen.items()
    }


def compare(ops: list[OpInfo], left: Recording, right: Recording) -> None:
    """Print the differing elements per tensor; the first must be in a dense layer."""
    first = None
    for info in ops:
        a, b = left[info.tensor], right[info.tensor]
        if not (a.dtype == b.dtype == np.int8 and a.shape == b.shape == (len(a), *info.shape[1:])):
            raise ValueError(f"tensor {info.tensor}: unexpected shape or type")
        gap = np.abs(a.astype(np.int16) - b)
        count = np.count_nonzero(gap)
        first = first or (info.op if count else None)
        print(*info, f"{count} of {a.size} elements differ, by up to {gap.max()}", sep=", ")
    if first != "FULLY_CONNECTED":
        raise ValueError(f"the first difference is in {first}, not in a dense layer")


def choose_rows(left: Recording, right: Recording) -> list[int]:
    """Return the first inputs, then the next few in which the engines part."""
    differs = [(left[i] != right[i]).reshape(len(left[i]), -1).any(axis=1) for i in left]
    later = np.flatnonzero(np.any(differs, axis=0)[FIRST_INPUTS:]) + FIRST_INPUTS
    return [*range(FIRST_INPUTS), *later[:PARTING_INPUTS].tolist()]


def main() -> None:
    """Make both files and check what they promise."""
    parser = argparse.ArgumentParser(description="Make the demo model and its recordings.")
    parser.add_argument("--out", type=Path, default=Path("fxsim/data"), help="output folder")
    out = parser.parse_args().out

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, *INPUT_SHAPE[1:]).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels.astype(np.int64), test_size=TEST_FRACTION, random_state=SEED, stratify=labels
    )
    model = train(x_train, y_train)
    content = quantize(model, x_train)
    ops = list_ops(content)

    details = litert.Interpreter(model_content=content).get_input_details()[0]
    scale, zero_point = details["quantization"]
    inputs = np.clip(np.rint(x_test / scale) + zero_point, -128, 127).astype(np.int8)
    recordings = record(content, inputs, [info.tensor for info in ops])
    scores = recordings["litert_reference"][ops[-1].tensor]
    accuracy = float(np.mean(scores.argmax(1) == y_test))
    provenance = {
        "command": "python tools/demo_model/train.py",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "seed": SEED,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "float_test_accuracy": float(np.mean(model.predict(x_test, verbose=0).argmax(1) == y_test)),
        "int8_test_accuracy": accuracy,
        "test_images": len(y_test),
        "first_inputs": FIRST_INPUTS,
    }
    rows = choose_rows(*recordings.values())
    arrays = {"inputs": inputs[rows], "labels": y_test[rows]}
    for engine, recording in recordings.items():
        recordings[engine] = {index: data[rows] for index, data in recording.items()}
        arrays |= {f"{engine}_tensor_{index}": d for index, d in recordings[engine].items()}
    arrays["provenance"] = np.array(json.dumps(provenance, sort_keys=True))
    compare(ops, *recordings.values())

    out.mkdir(parents=True, exist_ok=True)
    model_path, npz_path = out / "digits_int8.tflite", out / "digits_recordings.npz"
    model_path.write_bytes(content)
    np.savez_compressed(npz_path, allow_pickle=False, **arrays)
    sizes = [path.stat().st_size for path in (model_path, npz_path)]
    print(json.dumps(provenance, indent=2))
    print(f"{model_path}: {sizes[0]} bytes; {npz_path}: {sizes[1]} bytes")
    if accuracy < MIN_ACCURACY or sum(sizes) > MAX_TOTAL_BYTES:
        raise SystemExit("accuracy too low or files too large")


if __name__ == "__main__":
    main()
