"""Cycles, memory traffic, energy and memory needs of a layer on a target. Knows no numerics, and of values only weights."""
