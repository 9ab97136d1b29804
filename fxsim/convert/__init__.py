"""Turns graphs of one dialect into those of the other: the ops of ONNX, and those of TensorFlow Lite."""

from fxsim.convert.to_onnx import to_onnx
from fxsim.convert.to_tflite import to_tflite

__all__ = ["to_onnx", "to_tflite"]
