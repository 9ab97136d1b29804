"""Hardware emulation of fixed-point accelerators: bit-exact simulation, comparison and cost of quantized networks.

``import fxsim`` is cheap: numba, pandas and matplotlib load when a function first needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fxsim._version import __version__

if TYPE_CHECKING:
    from fxsim import layer, prune, quant
    from fxsim.choose.allocate import Allocation, allocate_bits
    from fxsim.choose.ladder import Ladder, ladder
    from fxsim.diagnose.compare import Comparison, Divergence, compare
    from fxsim.diagnose.explain import Explanation, explain
    from fxsim.diagnose.reproduce import reproduce
    from fxsim.diagnose.vectors import vectors
    from fxsim.errors import (
        DomainError,
        DumpError,
        FxsimError,
        InputError,
        ModelError,
        OutputError,
        ProfileError,
        UnsupportedOp,
    )
    from fxsim.evaluation.evaluate import Evaluation, evaluate
    from fxsim.evaluation.noise import noise
    from fxsim.exporters import export
    from fxsim.importers import read, survey
    from fxsim.model.graph import Graph
    from fxsim.numerics import Accumulator, NumericsProfile, list_numerics, load_numerics
    from fxsim.quant import Scheme, quantize
    from fxsim.report.cost import Cost, estimate
    from fxsim.sim import simulate
    from fxsim.sim.registers import needed_bits, worst_input
    from fxsim.sim.support import Gap, unsupported
    from fxsim.sim.trace import Trace
    from fxsim.targets import list_targets

_HOME = {
    "read": "importers",
    "survey": "importers",
    "export": "exporters",
    "unsupported": "sim.support",
    "simulate": "sim",
    "compare": "diagnose.compare",
    "reproduce": "diagnose.reproduce",
    "vectors": "diagnose.vectors",
    "explain": "diagnose.explain",
    "Explanation": "diagnose.explain",
    "estimate": "report.cost",
    "evaluate": "evaluation.evaluate",
    "noise": "evaluation.noise",
    "ladder": "choose.ladder",
    "Ladder": "choose.ladder",
    "allocate_bits": "choose.allocate",
    "Allocation": "choose.allocate",
    "Evaluation": "evaluation.evaluate",
    "list_numerics": "numerics",
    "load_numerics": "numerics",
    "needed_bits": "sim.registers",
    "worst_input": "sim.registers",
    "list_targets": "targets",
    "quantize": "quant",
    "Scheme": "quant",
    "Accumulator": "numerics",
    "NumericsProfile": "numerics",
    "Graph": "model.graph",
    "Gap": "sim.support",
    "Trace": "sim.trace",
    "Comparison": "diagnose.compare",
    "Divergence": "diagnose.compare",
    "Cost": "report.cost",
    **dict.fromkeys(
        (
            "FxsimError",
            "ModelError",
            "UnsupportedOp",
            "ProfileError",
            "DumpError",
            "InputError",
            "DomainError",
            "OutputError",
        ),
        "errors",
    ),
}
"""public name -> the module that it comes from"""

__all__ = [
    "Accumulator",
    "Allocation",
    "Comparison",
    "Cost",
    "Divergence",
    "DomainError",
    "DumpError",
    "Evaluation",
    "Explanation",
    "FxsimError",
    "Gap",
    "Graph",
    "InputError",
    "Ladder",
    "ModelError",
    "NumericsProfile",
    "OutputError",
    "ProfileError",
    "Scheme",
    "Trace",
    "UnsupportedOp",
    "__version__",
    "allocate_bits",
    "compare",
    "convert",
    "estimate",
    "evaluate",
    "explain",
    "export",
    "ladder",
    "layer",
    "list_numerics",
    "list_targets",
    "load_numerics",
    "needed_bits",
    "noise",
    "prune",
    "quant",
    "quantize",
    "read",
    "reproduce",
    "simulate",
    "survey",
    "unsupported",
    "vectors",
    "worst_input",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Loads a public name on first use."""
    if name in ("convert", "layer", "prune", "quant", "train"):
        return import_module(f"fxsim.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'fxsim' has no attribute {name!r}")
    value = getattr(import_module(f"fxsim.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return sorted(__all__)
