"""Exact arithmetic on Python ints: the specification, the subject of proofs and the source of the kernels are one text.

Nothing here knows arrays or numba. The compiled kernels use these very functions on int64; each docstring states
the range in which that is exact.
"""
