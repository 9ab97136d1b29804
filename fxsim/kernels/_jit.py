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

import numba
import numpy as np
from numba import types
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

__all__ = ["INTEGER", "STAMP", "CompileError", "intrinsic", "jitable", "kernel", "overload", "types"]
F = TypeVar("F", bound=Callable[..., Any])
_PACKAGE = Path(__file__).resolve().parent.parent
INTEGER: Any = int if numba.config.DISABLE_JIT else np.int64  # type: ignore[attr-defined]
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
