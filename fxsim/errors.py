"""Every error that fxsim raises on purpose.

All derive from :class:`FxsimError`; the command line prints them as one line and exits with code 2.
A message says who complains, what was got, what is allowed, and where (file and key).
"""

from collections.abc import Iterable


class FxsimError(Exception):
    """Base of all errors that fxsim raises on purpose."""


class ModelError(FxsimError):
    """A model file is malformed, or describes a network that cannot be."""


class UnsupportedOp(ModelError):
    """A model is well formed, but uses an op, type or attribute that fxsim does not simulate."""


class ProfileError(FxsimError):
    """A numerics or hardware profile is unknown, malformed, or asks for the impossible."""


class DumpError(FxsimError):
    """A dump or trace file cannot be read, or does not belong to the model."""


class NoArrays(DumpError):
    """A file of a dump's format that holds no array: beside others in a folder it is left out."""


class InputError(FxsimError):
    """The values given to a model have the wrong shape, type or content."""


class DomainError(FxsimError):
    """An arithmetic parameter is outside the range for which a rule is defined."""


class OutputError(FxsimError):
    """A result cannot be written where it was asked for."""


def listed(names: Iterable[object], limit: int = 40) -> str:
    """``'a', 'b', 'c'``: the allowed values in an error message, shortened when there are many."""
    items = [repr(n) for n in names]
    if len(items) > limit:
        return ", ".join(items[:limit]) + f", ... ({len(items)} in all)"
    return ", ".join(items) if items else "(none)"
