"""The ranges agree with SB3's constructors and with rl-zoo's tuned settings."""

from __future__ import annotations

import inspect

import pytest
import sb3_contrib
import stable_baselines3

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.settings import judge_learning_rate, judge_learning_starts, judge_max_grad_norm
from sacdoctor.settings.recommended import recommended

ZOO = {
    # Every rate in DLR-RM/rl-baselines3-zoo, hyperparams/*.yml, by hand.
    "SAC": [3e-4, 7.3e-4, 1e-3],
    "TQC": [3e-4, 7.3e-4, 1e-3, 1.5e-3],
    "CrossQ": [7e-4, 7.3e-4, 1e-3],
    "TD3": [7e-4, 1e-3],
    "DDPG": [7e-4, 1e-3],
    "DQN": [1e-4, 2.5e-4, 6.3e-4, 8.8e-4, 2.3e-3, 4e-3],
    "QRDQN": [6.3e-4, 1.5e-3, 2.3e-3, 4e-3],
    "PPO": [
        *(2.0633e-5, 2.55673e-5, 3e-5, 3.56987e-5, 5.05041e-5, 7.77e-5, 9.80828e-5, 1e-4),
        *(1.04019e-4, 1.55454e-4, 2.22425e-4, 2.5e-4, 3e-4, 6e-4, 1e-3),
    ],
    "RecurrentPPO": [2.0633e-5, 2.55673e-5, 3.56987e-5, 1e-4, 2.5e-4, 3e-4, 6e-4, 1e-3],
    "A2C": [7e-4, 8e-4, 8.3e-4, 9.6e-4],
    "TRPO": [2.5e-4, 1e-3],
    "ARS": [0.01, 0.015, 0.018, 0.02, 0.03],
}


ZOO_NORMS = {
    # Every max_grad_norm there.
    "PPO": [0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 2.0, 5.0],
    "RecurrentPPO": [0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 2.0, 5.0],
    "A2C": [0.5],
}


def parameters(name: str) -> dict[str, inspect.Parameter]:
    module = stable_baselines3 if hasattr(stable_baselines3, name) else sb3_contrib
    return dict(inspect.signature(getattr(module, name)).parameters)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_sb3s_own_defaults_are_safe(name: str) -> None:
    defaults = parameters(name)
    assert judge_learning_rate(name, defaults["learning_rate"].default) is None
    if "max_grad_norm" in defaults:
        assert judge_max_grad_norm(name, defaults["max_grad_norm"].default) is None


@pytest.mark.parametrize(("name", "rate"), [(n, rate) for n in ZOO for rate in ZOO[n]])
def test_no_rate_that_rl_zoo_tuned_must_change(name: str, rate: float) -> None:
    verdict = judge_learning_rate(name, rate)
    assert verdict is None or verdict.severity == "notice"
    assert rate <= ALGORITHMS[name].learning_rates.tuned


@pytest.mark.parametrize(("name", "norm"), [(n, norm) for n in ZOO_NORMS for norm in ZOO_NORMS[n]])
def test_no_gradient_norm_that_rl_zoo_tuned_must_change(name: str, norm: float) -> None:
    verdict = judge_max_grad_norm(name, norm)
    assert verdict is None or verdict.severity == "notice"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_just_above_what_rl_zoo_tuned_it_must_change(name: str) -> None:
    rates = ALGORITHMS[name].learning_rates
    verdict = judge_learning_rate(name, 1.01 * max(rates.tuned, rates.high))
    assert verdict is not None and verdict.must_change


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_recommended_is_safe(name: str) -> None:
    settings = recommended(name)
    assert settings.learning_rate is not None
    assert judge_learning_rate(name, settings.learning_rate) is None
    assert judge_max_grad_norm(name, settings.max_grad_norm) is None
    assert settings.no_trading_warmup_steps == 5000
    assert judge_learning_starts(name, settings.learning_starts, 5000) is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_range_is_in_order_and_has_a_source(name: str) -> None:
    rates = ALGORITHMS[name].learning_rates
    assert 0 < rates.low <= rates.recommended <= rates.high < rates.critical_above * 1.000001
    assert rates.source


def test_the_ranges_that_are_given() -> None:
    def ends(name: str) -> tuple[float, float]:
        return ALGORITHMS[name].learning_rates.low, ALGORITHMS[name].learning_rates.high

    assert ends("SAC") == (1e-5, 3e-4)
    assert ALGORITHMS["SAC"].learning_rates.recommended == 1e-4
    assert ends("PPO") == ends("MaskablePPO") == ends("RecurrentPPO") == (1e-5, 1e-3)
    assert ends("A2C") == (1e-4, 1e-2)
