"""The one place that names numba: how kernels are compiled, and how their disk cache stays true.

A kernel is made by a factory whose closure holds the arith functions that it uses. numba's cache key covers the
kernel's own file and its closure cells, but a plain function in a cell is pickled by name: editing a rule would leave
the old rule in the cache. So every factory closes over :data:`STAMP`, a digest of all sources that can reach a kernel.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir as _ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.core.errors import NumbaError as CompileError
from numba.extending import intrinsic, overload, register_jitable

from fxsim.arith import cast as fixed_cast
from fxsim.arith import (
    floats,
    gemmlowp,
    gemmlowp16,
    lanes,
    overflow,
    requantize,
    roots,
    rounding,
    tables,
    tosa,
    wide,
    x86,
    xnnpack,
)

__all__ = [
    "DISABLED",
    "INTEGER",
    "STAMP",
    "CompileError",
    "carray",
    "cgutils",
    "cpu_features",
    "intrinsic",
    "ir",
    "jitable",
    "kernel",
    "native",
    "overload",
    "types",
]
F = TypeVar("F", bound=Callable[..., Any])
ir: Any = _ir
cgutils: Any = _cgutils
carray: Any = numba.carray  # type: ignore[attr-defined]
_PACKAGE = Path(__file__).resolve().parent.parent
DISABLED: bool = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
"""kernels run as plain Python"""
INTEGER: Any = int if DISABLED else np.int64
"""What values of up to 64 bits widen to on load: a word that wraps where compiled, else Python's own integer."""


def _stamp() -> int:
    digest = hashlib.sha256()
    for folder in ("arith", "kernels"):
        for source in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:7], "big")


STAMP = _stamp()
"""Changes with every edit of arith or kernels. Positive, so that ``if STAMP < 0`` folds away."""


@cache
def jitable(function: F) -> F:
    """A plain function, made known to the compiler, so that kernels may call it."""
    register_jitable(function)
    return function


def _register() -> None:
    more = (floats, tosa, wide, x86, roots, tables, gemmlowp16, lanes, xnnpack)
    for module in (rounding, overflow, requantize, gemmlowp, fixed_cast, *more):
        for value in vars(module).values():
            if callable(value) and getattr(value, "__module__", None) == module.__name__:
                jitable(value)


_register()


def kernel(function: F) -> F:
    """``function`` compiled on first use: no GIL, no division checks, cached on disk where a folder can be written."""
    try:
        compiled: Any = numba.njit(cache=True, error_model="numpy", nogil=True)(function)
    except RuntimeError:  # no folder for the cache: a read-only install without a home
        compiled = numba.njit(error_model="numpy", nogil=True)(function)
    return cast(F, compiled)


@cache
def cpu_features() -> frozenset[str]:
    """What the compiler may use, by LLVM's names; nothing where kernels are not compiled."""
    settings: Any = numba.config
    if DISABLED:
        return frozenset()
    if settings.CPU_NAME or settings.CPU_FEATURES:  # set by the user: numba then compiles for these alone
        words = (settings.CPU_FEATURES or "").split(",")
        return frozenset(w[1:] for w in words if w.startswith("+"))
    features = llvmlite.binding.get_host_cpu_features()  # type: ignore[no-untyped-call]
    return frozenset(name for name, there in features.items() if there)


def native(function: Callable[[int], None]) -> Any:  # noqa: ANN401
    """``function(block)`` compiled to a C function, ``block`` being the address of its words; its ``address`` calls it."""
    signature = types.void(types.int64)
    try:
        return numba.cfunc(signature, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.cfunc(signature, error_model="numpy")(function)
