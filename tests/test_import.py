"""What ``import fxsim`` costs, and that every public name is there."""

import subprocess
import sys

import pytest

import fxsim


def test_import_loads_nothing_heavy():
    code = "import fxsim, sys; print([m for m in ('numba', 'pandas', 'matplotlib', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_read_loads_no_numba():
    code = (
        "import fxsim, sys; fxsim.read; fxsim.list_numerics(); fxsim.list_targets();"
        "print('numba' in sys.modules, 'pandas' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", fxsim.__all__)
def test_public_names_exist_and_say_what_they_are(name):
    value = getattr(fxsim, name)
    assert name == "__version__" or value.__doc__


def test_unknown_name():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fxsim.nonsense
