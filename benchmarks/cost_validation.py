"""Cost estimates against measurements and against another tool, in one report.

    FXSIM_CORPUS=<folder> python -m benchmarks.cost_validation [--write] [--vela FILE] [--report reports/cost_validation.md]

``--write`` first fits the microcontrollers' libraries and puts factors, error bands and figure in their places;
``--vela`` names the ``vela`` program of an environment with ``ethos-u-vela==5.2.0``.
"""

from benchmarks import cost_validation_ethos as ethos
from benchmarks import cost_validation_mcu as mcu
from benchmarks.machine import options, publish
from benchmarks.mcu_rows import corpus


def main() -> None:
    """Fits and writes if asked; reports."""
    parser = options(__doc__, 1)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--vela", help="the vela program of another environment: networks that it compiles now")
    args = parser.parse_args()
    if args.write:
        mcu.update()
    npu = ethos.sections(corpus(), args.vela)
    publish("\n".join(("# Cost estimates and what they were held against", "", mcu.section(), npu)), args.report)


if __name__ == "__main__":
    main()
