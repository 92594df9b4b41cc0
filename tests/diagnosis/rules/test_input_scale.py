"""SD304: inputs too large for the network behind them, by real trainings and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from benchmarks.healthy import Catch
from fixtures.environments import Tracking
from fixtures.faulty_training import train
from sacdoctor import Finding, scan
from tests.diagnosis.handmade import finding
from tests.labelled import Labelled


def found(folder: Path, model: Any) -> Finding | None:
    model.save(folder / "m.zip")
    return finding(scan(folder / "m.zip"), "SD304")


def seeing(observation: list[float], dtype: type = np.float32) -> Any:
    """An untrained PPO that saw this last, through orthogonal Tanh layers of 16 units."""
    model = train("PPO", steps=0)
    model._last_obs = np.array([observation], dtype)
    return model


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_last_observation_that_is_no_number_is_critical(tmp_path: Path, bad: float) -> None:
    told = found(tmp_path, seeing([0.0, bad, bad, 1.0, 2.0]))
    assert told is not None
    assert told.severity == "critical"
    assert "2 NaN or infinite values" in told.message


def test_share_of_saturated_units_is_that_of_torch(tmp_path: Path) -> None:
    model = seeing([40.0, -30.0, 20.0, 10.0, 0.0])
    first = model.policy.mlp_extractor.policy_net[0]
    z = first(th.tensor(model._last_obs)).detach().requires_grad_()
    th.tanh(z).sum().backward()
    assert z.grad is not None
    share = float((z.grad == 0).float().mean())
    assert 0.5 <= share < 0.9
    told = found(tmp_path, model)
    assert told is not None
    assert told.severity == "warning"
    assert f"{100 * share:.3g} % of a layer is saturated" in told.message


def test_weights_that_grew_are_no_matter_of_inputs(tmp_path: Path) -> None:
    model = seeing([1.0, -1.0, 1.0, 1.0, 1.0])
    with th.no_grad():
        model.policy.mlp_extractor.policy_net[0].weight.mul_(100.0)
    assert found(tmp_path, model) is None


def test_whole_numbers_become_one_hot_vectors(tmp_path: Path) -> None:
    assert found(tmp_path, seeing([5000.0, 0.0, 0.0, 0.0, 0.0], np.int64)) is None


def test_normalised_observations_are_in_scale(tmp_path: Path) -> None:
    """What SB3 keeps is what `VecNormalize` made of them."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    env = VecNormalize(DummyVecEnv([lambda: Tracking(observation_scale=1e6)]))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=32, seed=0, device="cpu")
    model.learn(128)
    assert found(tmp_path, model) is None


class Normalised(nn.Sequential):
    """Layers that take the size of their inputs away themselves."""

    def __init__(self, space: Any, first: str) -> None:
        width, self.features_dim = space.shape[0], 8
        norm = nn.BatchNorm1d if "batch" in first else nn.LayerNorm
        linear = nn.Linear(width, 8)
        layers = (norm(width), linear) if first.endswith("before") else (linear, norm(8))
        super().__init__(*layers, nn.Tanh())


@pytest.mark.parametrize("first", ["batch before", "batch behind", "layer before", "layer behind"])
def test_normalisation_inside_the_network_takes_the_size_off(tmp_path: Path, first: str) -> None:
    """BatchNorm behind a layer leaves its bias no gradient, beside which all inputs look large."""
    model = train(
        "PPO",
        environment={"observation_scale": 1e4},
        policy_kwargs={
            "features_extractor_class": Normalised,
            "features_extractor_kwargs": {"first": first},
        },
    )
    assert found(tmp_path, model) is None


def test_gradients_that_large_inputs_make_are_not_told_beside_them(labelled: Labelled) -> None:
    report = labelled.report("input_scale_td3")
    assert [finding.rule for finding in report.findings] == ["SD304"]
    alone = scan(labelled.path("input_scale_td3"), options=_only("SD303"))
    assert [finding.rule for finding in alone.findings] == ["SD303"]


def _only(code: str) -> Any:
    from sacdoctor import ScanOptions

    return ScanOptions(select=(code,))


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [({"normalize_images": False}, "warning"), ({}, None), ({"normalize_images": True}, None)],
)
def test_images_that_nothing_divides_by_255(
    tmp_path: Path, kwargs: dict[str, Any], expected: str | None
) -> None:
    small = {"features_extractor_kwargs": {"features_dim": 8}, "net_arch": [8]}
    env = gym.wrappers.TransformObservation(
        Catch(36), lambda image: np.maximum(image, 20), Catch(36).observation_space
    )
    model = PPO("CnnPolicy", env, n_steps=32, n_epochs=1, policy_kwargs=small | kwargs, seed=1)
    model.learn(32)
    told = found(tmp_path, model)
    assert (told.severity.value if told else None) == expected
    if told is not None:
        assert "normalize_images is False" in told.evidence
