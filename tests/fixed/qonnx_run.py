"""Runs one node in QONNX's own execution."""

import warnings

import numpy as np


def run(node, inputs, shape):
    """The output ``y`` of ``node`` on float32 ``inputs``; those of one value (or named in the node as such) are constants."""
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imports of onnxruntime and qonnx warn about themselves
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx

        info = [onnx.helper.make_tensor_value_info(k, onnx.TensorProto.FLOAT, v.shape) for k, v in inputs.items()]
        output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)
        graph = onnx.helper.make_graph([node], "one", info, [output])
        model = onnx.helper.make_model(
            graph,
            opset_imports=[
                onnx.helper.make_opsetid("", 17),
                onnx.helper.make_opsetid("qonnx.custom_op.general", 1),
            ],
        )
        return np.asarray(execute_onnx(ModelWrapper(model), inputs)["y"])
