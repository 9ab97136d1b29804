"""ONNX's integer products on ONNX Runtime: every bit of generated convolutions and matrix products."""

import numpy as np

from tests.live.cases import explore
from tests.onnx.cases import OnnxTally
from tests.onnx.products import INTEGER_TYPES, ConvCase, MatCase, convs, matrices


def _conv(tally: OnnxTally, case: ConvCase) -> None:
    acc, bias = case.products(), case.q.biases(case.group * case.out_per_group)
    acc = acc if bias is None else acc + bias
    *scales, ratio = case.q.scales(acc)
    if tally.ask(case.model(tuple(scales)), [case.inputs()]) is not None:
        tally.tally(acc, ratio, case.q.y_zero, case.q.input_type)


def test_qlinear_conv(tallies):
    tally = tallies("QLinearConv")
    explore(convs(depthwise=False), lambda case: _conv(tally, case), share=3)
    tally.check(15, ties=True, clamps=True)


def test_qlinear_conv_depthwise(tallies):
    tally = tallies("QLinearConv depthwise")
    explore(convs(depthwise=True), lambda case: _conv(tally, case), share=2)
    tally.check(15, ties=True, clamps=True)


def test_conv_integer(tallies):
    tally = tallies("ConvInteger")
    explore(convs(types=INTEGER_TYPES), lambda case: tally.ask(case.integer_model(), [case.inputs()]), share=2)
    tally.check(15)


def _matmul(tally: OnnxTally, case: MatCase) -> None:
    acc = case.products()
    *scales, ratio = case.q.scales(acc)
    if tally.ask(*case.qlinear(tuple(scales))) is not None:
        tally.tally(acc, ratio, case.q.y_zero, case.q.input_type)


def test_qlinear_matmul(tallies):
    tally = tallies("QLinearMatMul")
    explore(matrices(), lambda case: _matmul(tally, case), share=3)
    tally.check(10, ties=True, clamps=True)


def test_matmul_integer(tallies):
    tally = tallies("MatMulInteger")
    explore(matrices(types=INTEGER_TYPES), lambda case: tally.ask(*case.integer()), share=2)
    tally.check(10)


def _gemm(tally: OnnxTally, case: MatCase) -> None:
    acc, bias = case.products().reshape(-1, case.n), case.bias()
    acc = acc if bias is None else acc + bias
    x_scale, w_scale, y_scale, _ = case.q.scales(acc)
    if tally.ask(*case.gemm((x_scale, w_scale, y_scale))) is not None:
        first = np.float32(case.alpha) * np.float32(x_scale)
        tally.tally(acc, first * w_scale / np.float32(y_scale), case.q.y_zero, case.q.input_type)
    if case.q.seed % 3 == 0:
        tally.ask(*case.gemm((x_scale, w_scale, 0.0)))


def test_qgemm(tallies):
    tally = tallies("QGemm")
    explore(matrices(batched=False), lambda case: _gemm(tally, case), share=3)
    tally.check(10, ties=True, clamps=True)


def test_matmul_integer_to_float(tallies):
    tally = tallies("MatMulIntegerToFloat")

    def hold(case: MatCase) -> None:
        x_scale, w_scale, _, _ = case.q.scales(case.products())
        tally.ask(*case.to_float((x_scale, w_scale, 0.0), case.q.seed % 2 == 0))

    explore(matrices(batched=False), hold, share=2)
    tally.check(10)
