"""The only loops of fxsim: arrays in, arrays out; rules come as arguments and are compiled in.

Kernels are untyped (numba infers them), made by cached factories, and compiled on first use.
"""
