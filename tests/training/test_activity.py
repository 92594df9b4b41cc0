"""The networks of a training at work, every so many steps, which leaves the training as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.logger import Logger

from sacdoctor.training import ActivityCallback
from tests.agents import ALGORITHMS, DISCRETE, OBSERVATIONS, TinyEnv, train

pytestmark = pytest.mark.slow


class Kept(Logger):
    """Keeps everything that is recorded."""

    def __init__(self) -> None:
        super().__init__(None, [])
        self.seen: dict[str, Any] = {}

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        self.seen[key] = value


LOOKED_AT = {
    "SAC": ("actor/dead", "critic/residual", "critic_target/value", "actor/deviation"),
    "DQN": ("q_net/commonest", "q_net/residual", "q_net_target/dead"),
    "PPO": ("actor/saturated", "value/value"),
    "RecurrentPPO": ("actor/dead", "value/value"),
    "CrossQ": ("actor/dead", "critic/residual"),
}


@pytest.mark.parametrize("name", LOOKED_AT)
def test_it_logs_and_changes_nothing(name: str, tmp_path: Path) -> None:
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    model = train(name, policy)
    model.save(tmp_path / "model.zip")
    weights = []
    for callback in (None, ActivityCallback(every=16, sample=8)):
        env = TinyEnv(OBSERVATIONS["Mlp"], name in DISCRETE)
        again = ALGORITHMS[name].load(tmp_path / "model.zip", env=env, device="cpu")
        again.set_random_seed(3)
        logger = Kept()
        again.set_logger(logger)
        again.learn(96, callback=callback)
        weights.append(again.policy.state_dict())
    assert {f"activity/{key}" for key in LOOKED_AT[name]} <= logger.seen.keys()
    assert callback is not None
    assert callback.networks
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key])


@pytest.mark.parametrize(("every", "sample"), [(0, 8), (8, 0)])
def test_numbers_have_to_be_positive(every: int, sample: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        ActivityCallback(every, sample)
