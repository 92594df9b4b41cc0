"""What second moments remember: units that never were active, dead layers, the size of inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from sacdoctor import Checkpoint, Finding, LayerReport, Report, ScanOptions, scan
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import input_sizes, most_never_active
from sacdoctor.repair import fix

RELU = {"activation_fn": nn.ReLU}
HIDDEN = "mlp_extractor.policy_net.0"


class Walk(gym.Env[Any, Any]):
    """Observations of four numbers of the size that is asked for."""

    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,))

    def __init__(self, size: float = 1.0, shift: float = 0.0) -> None:
        self.size, self.shift = size, shift

    def _seen(self) -> Any:
        drawn = self.np_random.normal(size=4) + self.shift
        return (self.size * drawn).astype(np.float32)

    def reset(self, **options: Any) -> Any:
        super().reset(**options)
        self.steps = 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self._seen(), float(action), False, self.steps == 20, {}


def trained(
    folder: Path,
    name: str = "PPO",
    env: gym.Env[Any, Any] | None = None,
    kill: Any = None,
    updates: int = 4,
    **options: Any,
) -> Path:
    """A small training of SB3's own; `kill` does harm to the policy before it starts."""
    algorithm = {"PPO": PPO, "A2C": A2C, "TRPO": TRPO}[name]
    n_steps = {"n_steps": 64, **({} if name == "A2C" else {"batch_size": 32})}
    model = algorithm("MlpPolicy", env or Walk(), seed=0, device="cpu", **{**n_steps, **options})
    if kill is not None:
        with th.no_grad():
            kill(model.policy)
    model.learn(64 * updates)
    model.save(folder / "model.zip")
    return folder / "model.zip"


def switched_off(units: slice) -> Any:
    """Returns what switches these units of the first policy layer off for all observations.

    Of the observations, which `shift` makes positive: no weight of the units is.
    """

    def kill(policy: Any) -> None:
        policy.mlp_extractor.policy_net[0].weight[units].abs_().neg_()

    return kill


POSITIVE = 6.0
"""Standard deviations above 0: with it no observation is ever negative."""


def layer(report: Report, name: str) -> LayerReport:
    return next(layer for layer in report.layers if layer.name == name)


def sd204(report: Report) -> Finding | None:
    return next((found for found in report.findings if found.rule == "SD204"), None)


# -- units that were never active --------------------------------------------------------------


@pytest.mark.parametrize("name", ["PPO", "A2C"])
def test_units_of_a_living_layer_that_were_never_active_are_a_notice(
    tmp_path: Path, name: str
) -> None:
    env = Walk(shift=POSITIVE)
    path = trained(tmp_path, name, env, switched_off(slice(0, 20)), policy_kwargs=RELU)
    report = scan(path)
    bias = layer(report, f"{HIDDEN}.bias")
    assert bias.zeros >= 20
    assert (bias.severity, bias.cause) == ("notice", "zero-gradient")
    assert bias.evidence is not None and "never active yet" in bias.evidence
    assert report.status == "notice"
    assert not {found.rule for found in report.findings} & {"SD101", "SD102", "SD204"}


def test_moments_that_start_at_one_hide_no_unit_that_was_never_active(tmp_path: Path) -> None:
    """After so few updates SB3's RMSpropTFLike still shows its start in every silent element."""
    kwargs = {**RELU, "optimizer_class": RMSpropTFLike}
    env = Walk(shift=POSITIVE)
    path = trained(tmp_path, "A2C", env, switched_off(slice(0, 20)), policy_kwargs=kwargs)
    bias = layer(scan(path), f"{HIDDEN}.bias")
    assert (bias.severity, bias.cause) == ("notice", "zero-gradient")


def test_fix_leaves_them_and_says_why(tmp_path: Path) -> None:
    env = Walk(shift=POSITIVE)
    path = trained(tmp_path, "PPO", env, switched_off(slice(0, 20)), policy_kwargs=RELU)
    done = fix(path)
    assert (done.output, done.plan.repaired) == (None, ())
    reasons = {left.name: left.reason for left in done.plan.left}
    assert "never active" in reasons[f"{HIDDEN}.bias"]


def test_layer_in_which_nearly_no_unit_lives_has_died(tmp_path: Path) -> None:
    env = Walk(shift=POSITIVE)
    path = trained(tmp_path, "PPO", env, switched_off(slice(0, 57)), policy_kwargs=RELU)
    bias = layer(scan(path), f"{HIDDEN}.bias")
    assert (bias.severity, bias.cause) == ("critical", "zero-gradient")


def test_the_limit_is_a_half_and_four_deviations_of_fair_coins() -> None:
    assert most_never_active(64) == pytest.approx(0.5 + 4 * 0.5 * 64**0.5 / 64)
    assert most_never_active(64) < 57 / 64
    assert most_never_active(10_000) == pytest.approx(0.52)


def test_saturated_tanh_units_are_no_units_that_wait(tmp_path: Path) -> None:
    """The same zeros behind another activation: those units never will have a gradient."""

    def saturate(policy: Any) -> None:
        policy.mlp_extractor.policy_net[0].weight[:20].abs_().add_(100.0)

    path = trained(tmp_path, "PPO", Walk(shift=POSITIVE), saturate)
    bias = layer(scan(path), f"{HIDDEN}.bias")
    assert (bias.severity, bias.cause) == ("critical", "zero-gradient")


def test_where_no_bias_starts_at_zero_a_zero_is_no_first_value(tmp_path: Path) -> None:
    kwargs = {**RELU, "ortho_init": False}

    def kill(policy: Any) -> None:
        switched_off(slice(0, 20))(policy)
        policy.mlp_extractor.policy_net[0].bias[:20] = 0.0

    path = trained(tmp_path, "PPO", Walk(shift=POSITIVE), kill, policy_kwargs=kwargs)
    assert layer(scan(path), f"{HIDDEN}.bias").severity == "critical"


def test_a_unit_that_was_reset_beside_them_is_still_one(tmp_path: Path) -> None:
    def reset(policy: Any) -> None:
        policy.mlp_extractor.policy_net[0].bias[:] = 0.0

    model = PPO("MlpPolicy", Walk(), n_steps=64, batch_size=32, policy_kwargs=RELU, device="cpu")
    model.learn(128)
    with th.no_grad():
        reset(model.policy)
    model.save(tmp_path / "model.zip")
    assert layer(scan(tmp_path / "model.zip"), f"{HIDDEN}.bias").cause == "reset-after-training"


def test_trpos_policy_keeps_no_zero_of_its_start(tmp_path: Path) -> None:
    """Which is why a zero there, without moments to explain it, stays unexplained."""
    kill = switched_off(slice(0, 20))
    path = trained(tmp_path, "TRPO", Walk(shift=POSITIVE), kill, policy_kwargs=RELU)
    assert layer(scan(path), f"{HIDDEN}.bias").zeros == 0


# -- layers that have died, and what is advised ------------------------------------------------


def test_tanh_network_saturated_by_its_inputs_is_told_to_scale_them(tmp_path: Path) -> None:
    """By SD304, which explains SD204, and by SD204 where it alone is asked for."""
    path = trained(tmp_path, env=Walk(size=1e7))
    (told,) = scan(path).findings
    assert told.rule == "SD304" and "VecNormalize" in told.remedy
    found = sd204(scan(path, ScanOptions(select=("SD204",))))
    assert found is not None
    assert "VecNormalize" in found.remedy and "Tanh" in found.remedy
    assert "ReLU" not in found.remedy
    assert "last observation" in found.evidence or "second moments" in found.evidence


def test_repaired_copy_of_a_saturated_network_keeps_its_finding(tmp_path: Path) -> None:
    """Its biases are drawn anew; the second moments of its weights still are 0."""
    done = fix(trained(tmp_path, env=Walk(size=1e7)))
    assert done.after is not None
    assert done.after.summary is not None and done.after.summary.all_zero_bias_tensors == 0
    (told,) = done.after.findings
    assert told.rule == "SD304" and "VecNormalize" in told.remedy
    assert done.output is not None
    found = sd204(scan(done.output, ScanOptions(select=("SD204",))))
    assert found is not None and "VecNormalize" in found.remedy
    assert done.after.status != "healthy"


def test_repaired_copy_of_a_layer_that_has_nearly_died_keeps_its_finding(tmp_path: Path) -> None:
    env = Walk(shift=POSITIVE)
    done = fix(trained(tmp_path, "PPO", env, switched_off(slice(0, 57)), policy_kwargs=RELU))
    assert done.after is not None
    found = sd204(done.after)
    assert found is not None and f"{HIDDEN}.bias" in found.tensors


def test_repaired_copy_of_biases_that_were_reset_is_healthy(tmp_path: Path) -> None:
    """Their own moments were cleared with them; those of the weights beside them tell of life."""
    model = PPO("MlpPolicy", Walk(), n_steps=64, batch_size=32, device="cpu")
    model.learn(128)
    with th.no_grad():
        model.policy.mlp_extractor.policy_net[0].bias.zero_()
    model.save(tmp_path / "model.zip")
    done = fix(tmp_path / "model.zip")
    assert done.after is not None and done.after.status == "healthy"


def test_relu_layer_that_is_off_is_told_to_lower_its_rate(tmp_path: Path) -> None:
    def kill(policy: Any) -> None:
        policy.mlp_extractor.policy_net[0].bias.fill_(-100.0)

    found = sd204(scan(trained(tmp_path, kill=kill, policy_kwargs=RELU)))
    assert found is not None
    # The bias of the first is not 0, its weights give it away; nothing reaches the second.
    assert {*found.tensors} == {f"{HIDDEN}.bias", "mlp_extractor.policy_net.2.bias"}
    assert "LeakyReLU" in found.remedy and "VecNormalize" not in found.remedy


class Gated(nn.Module):
    """A layer behind a factor that starts at 0, and is frozen there."""

    def __init__(self, space: gym.spaces.Box) -> None:
        super().__init__()
        self.features_dim = 8
        self.linear = nn.Linear(4, 8)
        self.gate = nn.Parameter(th.zeros(()), requires_grad=False)

    def forward(self, observations: th.Tensor) -> Any:
        return self.gate * th.tanh(self.linear(observations))


def test_branch_times_zero_names_its_factor(tmp_path: Path) -> None:
    kwargs = {"features_extractor_class": Gated}
    found = sd204(scan(trained(tmp_path, policy_kwargs=kwargs)))
    assert found is not None
    assert "features_extractor.gate is exactly 0" in found.evidence
    assert "start it at a small number" in found.remedy


@pytest.mark.slow
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.ELU, nn.GELU, nn.LeakyReLU])
def test_healthy_training_has_no_silent_layer(tmp_path: Path, activation: type[nn.Module]) -> None:
    kwargs = {"activation_fn": activation, "net_arch": [16, 1024]}
    report = scan(trained(tmp_path, policy_kwargs=kwargs))
    assert report.status in ("healthy", "notice") and sd204(report) is None


# -- the size of inputs ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_moments_of_the_first_layer_estimate_the_inputs(tmp_path: Path, size: float) -> None:
    """The gradient of weight[i, j] is δᵢ·xⱼ, that of bias[i] is δᵢ."""
    with Checkpoint(trained(tmp_path, env=Walk(size=size, shift=POSITIVE))) as checkpoint:
        found = input_sizes(Facts(checkpoint), "mlp_extractor.value_net.0.bias")
    assert found is not None
    assert found.max() == pytest.approx(POSITIVE * size, rel=0.5)


def test_second_moments_alone_do_not_accuse_sac(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=20, seed=0, device="cpu")
    model.learn(60)
    model.save(tmp_path / "model.zip")
    assert sd204(scan(tmp_path / "model.zip")) is None
