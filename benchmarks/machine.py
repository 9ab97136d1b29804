"""The sentence on machine and versions under every report."""

import os
import platform
from importlib.metadata import version


def machine(*packages: str) -> str:
    """``AMD EPYC, 2 CPUs; Python 3.11.7, numba 0.68.1, ...``."""
    lines = open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else []
    cpu = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), platform.machine())
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    return f"{cpu}, {os.cpu_count()} CPUs; Python {platform.python_version()}, {versions}"
