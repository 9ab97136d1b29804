"""Networks in real arithmetic: every op is the real function, every tensor is rounded to one floating-point format.

Where an engine's profile says how integers are computed, a profile with ``[real]`` says only which numbers there are: each
op's inputs are numbers of ``format``, its sums and functions are computed in ``accumulate``, and its output is rounded to
``format`` once, to the nearest, ties to even. Quantized tensors stand for their real values, ``scale * (raw - zero_point)``,
and are not rounded to their grid, but keep within its ends, since these may stand for a ReLU that the file lacks.

Values carry one more leading axis than their tensors: ``N`` inferences at once, or 1 where they do not depend on the input.
"""
