"""Signs of trouble in numbers made by hand."""

import math

import numpy as np
import pytest
from gymnasium import spaces

from sacdoctor.training.health.signs import action_std, growth, sharpe_ratio


def test_action_spread_is_measured_in_half_ranges() -> None:
    space = spaces.Box(np.array([0.0, -2.0], np.float32), np.array([10.0, 2.0], np.float32))
    actions = np.array([[0.0, -1.0], [10.0, 1.0]] * 50)  # deviations 5 of 5, and 1 of 2
    assert action_std(actions, space) == pytest.approx(0.75)
    uniform = np.random.default_rng(0).uniform([0.0, -2.0], [10.0, 2.0], (100_000, 2))
    assert action_std(uniform, space) == pytest.approx(1 / math.sqrt(3), abs=0.01)
    assert math.isnan(action_std(actions, spaces.Box(-np.inf, np.inf, (2,))))


def test_growth_compares_medians_of_sizes() -> None:
    assert growth([-2.0] * 80 + [60.0] * 20, floor=0.0) == pytest.approx(30.0)
    assert growth([0.01] * 80 + [3.0] * 20, floor=1.0) == pytest.approx(3.0)
    assert growth([1.0] * 99 + [1e9], floor=0.0) == pytest.approx(1.0)  # one batch alone


def test_sharpe_ratio_is_mean_over_standard_deviation() -> None:
    assert sharpe_ratio([1.0, 3.0]) == pytest.approx(2.0 / math.sqrt(2.0))
    assert math.isnan(sharpe_ratio([1.0]))
    assert math.isnan(sharpe_ratio([1.0, 1.0]))
