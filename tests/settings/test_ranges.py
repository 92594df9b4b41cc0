"""The ranges agree with SB3's constructors and with rl-zoo's tuned settings."""

from __future__ import annotations

import inspect

import pytest
import sb3_contrib
import stable_baselines3

from sacdoctor.settings import (
    ALGORITHMS,
    LEARNING_RATES,
    algorithm_named,
    judge_learning_rate,
    judge_learning_starts,
    judge_max_grad_norm,
)
from sacdoctor.settings.algorithms import CLIPS_GRADIENTS, HAS_LEARNING_STARTS, algorithm_in
from sacdoctor.settings.recommended import recommended

ZOO = {
    # Every rate in DLR-RM/rl-baselines3-zoo, hyperparams/*.yml, by hand.
    "SAC": [3e-4, 7.3e-4, 1e-3],
    "TQC": [3e-4, 7.3e-4, 1e-3],
    "CrossQ": [7e-4, 7.3e-4, 1e-3],
    "TD3": [7e-4, 1e-3],
    "DDPG": [7e-4, 1e-3],
    "DQN": [1e-4, 2.5e-4, 6.3e-4, 8.8e-4, 2.3e-3, 4e-3],
    "QRDQN": [6.3e-4, 1.5e-3, 2.3e-3, 4e-3],
    "PPO": [2.0633e-5, 3e-5, 7.77e-5, 1e-4, 2.5e-4, 3e-4, 1e-3],
    "RecurrentPPO": [2.0633e-5, 3e-5, 2.5e-4, 1e-3],
    "A2C": [7e-4, 8e-4, 8.3e-4, 9.6e-4],
    "TRPO": [2.5e-4, 1e-3],
    "ARS": [0.01, 0.015, 0.018, 0.02, 0.03],
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


@pytest.mark.parametrize("name", ALGORITHMS)
def test_where_a_setting_lives_is_what_the_constructors_say(name: str) -> None:
    assert ("max_grad_norm" in parameters(name)) == (name in CLIPS_GRADIENTS)
    assert ("learning_starts" in parameters(name)) == (name in HAS_LEARNING_STARTS)


@pytest.mark.parametrize(("name", "rate"), [(n, rate) for n in ZOO for rate in ZOO[n]])
def test_no_rate_that_rl_zoo_tuned_is_critical(name: str, rate: float) -> None:
    verdict = judge_learning_rate(name, rate)
    assert verdict is None or verdict.severity == "warning"
    assert rate <= LEARNING_RATES[name].tuned or name == "PPO"


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
    rates = LEARNING_RATES[name]
    assert 0 < rates.low <= rates.recommended <= rates.high < rates.critical_above * 1.000001
    assert rates.source


def test_the_ranges_that_are_given() -> None:
    def ends(name: str) -> tuple[float, float]:
        return LEARNING_RATES[name].low, LEARNING_RATES[name].high

    assert ends("SAC") == (1e-5, 3e-4)
    assert LEARNING_RATES["SAC"].recommended == 1e-4
    assert ends("PPO") == ends("MaskablePPO") == ends("RecurrentPPO") == (1e-5, 1e-3)
    assert ends("A2C") == (1e-4, 1e-2)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sac", "SAC"),
        ("SAC", "SAC"),
        ("ppo_lstm", "RecurrentPPO"),
        ("recurrent-ppo", "RecurrentPPO"),
        ("MaskablePPO", "MaskablePPO"),
        ("stable_baselines3.sac.SAC", "SAC"),
        ("sb3_contrib.QRDQN", "QRDQN"),
        ("crossq", "CrossQ"),
        ("aes", None),
        ("", None),
    ],
)
def test_algorithms_go_by_several_names(text: str, name: str | None) -> None:
    assert algorithm_named(text) == name


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("sac", "SAC"),
        ("ppo_lstm", "RecurrentPPO"),
        ("my_ppo_lstm_run", "RecurrentPPO"),
        ("trading-td3.v2", "TD3"),
        ("sac_or_ppo", None),
        ("settings", None),
        ("disaccord", None),
    ],
)
def test_a_file_may_be_named_after_its_algorithm(stem: str, name: str | None) -> None:
    assert algorithm_in(stem) == name
