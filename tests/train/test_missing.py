import subprocess
import sys

CODE = """
import sys
sys.modules["torch"] = None
from fxsim.errors import FxsimError
try:
    import fxsim.train
except FxsimError as e:
    print(e)
"""


def test_without_torch_the_extra_is_named():
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == 'training needs torch, which is not installed: pip install "fxsim[torch]"'


def test_nothing_else_loads_torch():
    code = "import fxsim, fxsim.quant.realize, fxsim.sim, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
