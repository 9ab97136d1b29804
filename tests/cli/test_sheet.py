"""Tables on narrow terminals: whole numbers at any width."""

import io
import re

import pytest
from rich.console import Console

from fxsim.report.sheet import table

COLUMNS = {
    "layer": "right",
    "op": "left",
    "name": "left",
    "MACs": "right",
    "acc min": "right",
    "acc max": "right",
    "time": "right",
}
ROWS = [
    [0, "CONV_2D", "block_1_expand_relu/Relu6", "1,234,567", "-3,321,455", "1,234,567,890", "12.25 ms"],
    [71, "DEPTHWISE_CONV_2D", "short", "82,944", "-88,905", "905,111", "0.5 ms"],
]


def printed(width, columns=COLUMNS, rows=ROWS):
    file = io.StringIO()
    Console(file=file, width=width).print(table("title [a]", columns, rows))
    return file.getvalue()


@pytest.mark.parametrize("width", [*range(32, 130, 3), 200])
def test_no_number_is_cut(width):
    text = printed(width)
    for row in ROWS:
        for cell in (row[0], row[1], *row[3:]):
            assert re.search(rf"(?<![\d,.]){re.escape(str(cell))}(?![\d,.])", text), (width, cell)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("title [a]") == 1
    assert "short" in text and "block_1_exp" in text


def test_the_first_columns_are_said_again():
    wide, narrow = printed(200), printed(60)
    assert wide.count("DEPTHWISE_CONV_2D") == 1
    assert narrow.count("DEPTHWISE_CONV_2D") == narrow.count("layer") > 1


def test_a_table_without_rows_or_of_one_column():
    assert "layer" in printed(20, {"layer": "right"}, [])
    assert "value" in printed(20, {"value": "left"}, [["a value that is longer than the terminal is wide"]])
