"""Small curves: a character per value, as high as it is."""

from __future__ import annotations

import math

from sacdoctor.report.sparkline import sparkline


def test_levels_run_from_the_least_to_the_largest() -> None:
    assert sparkline(range(8), 8, ascii_only=False) == "▁▂▃▄▅▆▇█"
    assert sparkline([-5.0, 5.0, -5.0], 8, ascii_only=True) == "_#_"


def test_gaps_constants_and_what_is_not_finite() -> None:
    assert sparkline([None, 1.0, 1.0], 8, ascii_only=False) == " ▁▁"
    assert sparkline([0.0, math.nan, math.inf, 1.0], 8, ascii_only=False) == "▁!!█"
    assert sparkline([None], 8, ascii_only=False) == " "
    assert sparkline([-1.7e308, 1.7e308], 8, ascii_only=False) == "▁█"


def test_more_values_than_columns_are_thinned_out() -> None:
    assert sparkline(range(800), 8, ascii_only=False) == "▁▂▃▄▅▆▇█"
