"""Rows to pandas: the columns are the fields of the row type, in their order."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def frame(row_type: type[Any], rows: Sequence[Any]) -> "pd.DataFrame":
    """One row for each of ``rows``, which are dataclasses or named tuples of ``row_type``."""
    import pandas as pd

    names = getattr(row_type, "_fields", None) or [f.name for f in fields(row_type)]
    return pd.DataFrame([[getattr(r, n) for n in names] for r in rows], columns=names)
