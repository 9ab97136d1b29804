"""Random legal models on live engines and on fxsim, as many as asked: ``python -m tests.differential --count N``."""
