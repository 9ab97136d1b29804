"""Pages that need no other file: the templates, and pictures within them."""

import base64
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from fxsim.names import short_name
from fxsim.report.figures import image
from fxsim.report.units import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(template: str, **values: object) -> str:
    """A template of ``report/templates``, with everything escaped."""
    loader = PackageLoader("fxsim", "report/templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": show, "short": short_name}
    return environment.get_template(template).render(**values)


def picture(figure: "Figure") -> str:
    """A figure as the text of a ``data:image/png;base64`` address."""
    return base64.b64encode(image(figure, "png")).decode()
