"""SD202 and SD203: parameters that no optimizer has, and parameters that never had a gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th
from torch import nn

from tests.diagnosis.handmade import DQN, PPO, SAC, TRPO, adam, finding, report

NET, LATE = nn.Linear(3, 4), nn.Linear(4, 2)
POLICY = nn.ModuleDict({"net": NET, "late": LATE}).state_dict()
NET_MOMENTS = [th.ones(4, 3), th.ones(4)]
LATE_MOMENTS = [th.ones(2, 4), th.ones(2)]


def test_parameters_outside_are_named_whether_zero_or_not(tmp_path: Path) -> None:
    found = report(tmp_path, POLICY, PPO, {"policy.optimizer": adam(NET_MOMENTS)})
    one = finding(found, "SD202")
    assert one is not None
    assert (one.severity, one.tensors) == ("critical", ("late.weight", "late.bias"))
    assert one.message == "2 parameters in 1 layers are in no optimizer and never learn"
    assert "2 entries" in one.evidence
    assert found.status == "critical"


def test_remedy_gives_the_lines_for_the_policys_optimizer(tmp_path: Path) -> None:
    one = finding(report(tmp_path, POLICY, PPO, {"policy.optimizer": adam(NET_MOMENTS)}), "SD202")
    assert one is not None
    assert "    self.optimizer = self.optimizer_class(" in one.remedy.splitlines()
    assert "self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)" in one.remedy


def test_remedy_gives_the_lines_for_the_optimizer_that_misses_them(tmp_path: Path) -> None:
    policy = {
        f"{part}.{name}": t.clone() for part in ("actor", "critic") for name, t in POLICY.items()
    }
    state = {
        "actor.optimizer": adam([*NET_MOMENTS, *LATE_MOMENTS]),
        "critic.optimizer": adam(NET_MOMENTS),
        "ent_coef_optimizer": adam([th.ones(1)]),
    }
    one = finding(report(tmp_path, policy, SAC, state), "SD202")
    assert one is not None
    assert one.tensors == ("critic.late.weight", "critic.late.bias")
    assert "self.critic.optimizer = self.optimizer_class(" in one.remedy
    assert "self.critic.parameters()" in one.remedy
    assert "actor" not in one.remedy
    assert "ent_coef" not in one.remedy + one.evidence


def test_untrained_model_is_not_said_to_miss_anything(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam([None, None])}
    assert finding(report(tmp_path, POLICY, {"_n_updates": 0}, state), "SD202") is None


def test_trpo_trains_by_name_what_its_optimizer_does_not_have(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam(NET_MOMENTS)}
    assert finding(report(tmp_path, POLICY, TRPO, state), "SD202") is None


def test_target_network_is_not_missed(tmp_path: Path) -> None:
    policy = {f"q_net{end}.{n}": t.clone() for end in ("", "_target") for n, t in POLICY.items()}
    state = {"policy.optimizer": adam([*NET_MOMENTS, *LATE_MOMENTS])}
    found = report(tmp_path, policy, DQN, state)
    assert not {"SD202", "SD203"} & {f.rule for f in found.findings}


def test_lone_tensor_beside_trained_ones_of_its_layer_may_be_a_buffer(tmp_path: Path) -> None:
    policy = {**POLICY, "net.running_scale_weight": th.ones(7)}
    state = {"policy.optimizer": adam([*NET_MOMENTS, *LATE_MOMENTS])}
    assert finding(report(tmp_path, policy, PPO, state), "SD202") is None


# -- SD203 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "severity"), [(th.ones(2), "notice"), (th.zeros(2), "critical")])
def test_frozen_layer_is_a_notice_unless_its_bias_is_dead(
    tmp_path: Path, bias: th.Tensor, severity: str
) -> None:
    state = {"policy.optimizer": adam([*NET_MOMENTS, None, None])}
    one = finding(report(tmp_path, {**POLICY, "late.bias": bias}, PPO, state), "SD203")
    assert one is not None
    assert (one.severity, one.tensors) == (severity, ("late.weight", "late.bias"))
    assert "requires_grad" in one.remedy
    assert ("1 of them" if severity == "critical" else "0 of them") in one.evidence


def test_optimizer_without_any_moments_says_nothing_about_gradients(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam([None] * 4)}
    assert finding(report(tmp_path, POLICY, PPO, state), "SD203") is None


def test_trpos_policy_needs_no_moments(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam([None, None, *LATE_MOMENTS])}
    assert finding(report(tmp_path, POLICY, TRPO, state), "SD203") is None


def test_moments_in_one_of_two_optimizers_are_enough(tmp_path: Path) -> None:
    shared = nn.Linear(3, 3)
    parts = {part: nn.Sequential(shared, nn.Linear(3, 2)) for part in ("actor", "critic")}
    head = [th.ones(2, 3), th.ones(2)]
    state = {
        "actor.optimizer": adam([None, None, *head]),
        "critic.optimizer": adam([th.ones(3, 3), th.ones(3), *head]),
    }
    policy = nn.ModuleDict(parts).state_dict()
    assert finding(report(tmp_path, policy, SAC, state), "SD203") is None


def test_gradients_in_one_of_two_optimizers_prove_a_reset(tmp_path: Path) -> None:
    shared = nn.Linear(3, 3)
    nn.init.zeros_(shared.bias)
    parts = {part: nn.Sequential(shared, nn.Linear(3, 2)) for part in ("actor", "critic")}
    head = [th.ones(2, 3), th.ones(2)]
    state = {
        "actor.optimizer": adam([th.ones(3, 3), th.zeros(3), *head]),
        "critic.optimizer": adam([th.ones(3, 3), th.ones(3), *head]),
    }
    found = report(tmp_path, nn.ModuleDict(parts).state_dict(), SAC, state)
    causes = {bias.name: bias.cause for bias in found.biases}
    assert causes["actor.0.bias"] == "reset-after-training"
