"""Layers with weights of TFLite: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED, BATCH_MATMUL."""

from fxsim.model.ops.conv import Conv2D, conv_geometry, dense_geometry
from fxsim.model.ops.matmul import BatchMatMul
from fxsim.model.ops.transpose_conv import TransposeConv, transpose_geometry
from fxsim.model.qtype import Array
from fxsim.sim.base import Site
from fxsim.sim.real.base import RealFn, Values, activate, aligned, optional, shared, value
from fxsim.sim.real.products import convolve, spread


def _conv(site: Site, *, depthwise: bool) -> RealFn:
    attrs, shape, act = site.node.attributes, site.outputs[0].shape, activate(site)
    assert isinstance(attrs, Conv2D)
    g = conv_geometry(list(site.inputs), attrs, depthwise=depthwise)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w, g.dilation_h, g.dilation_w)
    pad = (top, 0, left, 0)
    axes = (1, 2, 0, 3) if depthwise else (1, 2, 3, 0)

    def run(values: Values) -> list[Array]:
        x, weight, bias = value(values, 0), value(values, 1), optional(values, 2)
        y = convolve(x.reshape(-1, *x.shape[2:]), weight.transpose(axes), g, pad)
        if bias is not None:
            y += bias
        return [act(y).reshape(-1, *shape)]

    return shared((1, 2), run)


def conv_2d(site: Site) -> RealFn:
    """``y = activation(sum(x * w) + bias)`` over a sliding window."""
    return _conv(site, depthwise=False)


def depthwise_conv_2d(site: Site) -> RealFn:
    """As CONV_2D, each output channel from one input channel."""
    return _conv(site, depthwise=True)


def transpose_conv(site: Site) -> RealFn:
    """The transpose of CONV_2D: ``y[i * stride + a - top] += x[i] * w[a]``, plus bias, activated."""
    attrs, shape, act = site.node.attributes, site.outputs[0].shape, activate(site)
    assert isinstance(attrs, TransposeConv)
    g = transpose_geometry(list(site.inputs), shape, attrs)
    places = (g.out_h, g.out_w), (attrs.stride_h, attrs.stride_w), (1, 1), attrs.before(g)

    def run(values: Values) -> list[Array]:
        weight, x, bias = value(values, 1), value(values, 2), optional(values, 3)
        y = spread(x.reshape(-1, *x.shape[2:]), weight.transpose(1, 2, 3, 0), *places)
        return [act(y if bias is None else y + bias).reshape(-1, *shape)]

    return shared((1, 3), run)


def fully_connected(site: Site) -> RealFn:
    """``y = activation(x @ w.T + bias)`` over the rows of the input."""
    g, shape, act = dense_geometry(list(site.inputs)), site.outputs[0].shape, activate(site)

    def run(values: Values) -> list[Array]:
        x, weight, bias = value(values, 0), value(values, 1), optional(values, 2)
        y = x.reshape(-1, g.in_c) @ weight.T
        if bias is not None:
            y += bias.reshape(-1)
        return [act(y).reshape(-1, *shape)]

    return shared((1, 2), run)


def batch_matmul(site: Site) -> RealFn:
    """``y = a @ b`` on the last two axes, each swapped where the attributes say so."""
    attrs = site.node.attributes
    assert isinstance(attrs, BatchMatMul)

    def run(values: Values) -> list[Array]:
        a, b = aligned([value(values, 0), value(values, 1)])
        return [(a.swapaxes(-1, -2) if attrs.adj_x else a) @ (b.swapaxes(-1, -2) if attrs.adj_y else b)]

    return run


BINDINGS = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
}
