"""SD807: what something else than training changed between two checkpoints, and what it did not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.utils import LinearSchedule

from fixtures.faulty_logs import FAULT, load_another, scale_weights, train
from fixtures.faulty_training import At
from sacdoctor import read_history
from sacdoctor.model import Finding
from tests.runs import strip_optimizers

pytestmark = pytest.mark.slow


def told(folder: Path) -> list[Finding]:
    (run,) = read_history(folder).runs
    return [finding for finding in run.findings if finding.rule == "SD807"]


@pytest.mark.parametrize("algorithm, part", [("SAC", "actor"), ("TD3", "critic"), ("DQN", "q_net")])
def test_how_far_it_went_and_how_far_it_may_is_said(
    tmp_path: Path, algorithm: str, part: str
) -> None:
    train(tmp_path, algorithm, partial(At, FAULT, partial(scale_weights, part)))
    (found,) = told(tmp_path)
    assert "between 200 and 300 steps" in found.message
    assert "Adam can have moved it by" in found.evidence
    assert found.tensors and all(name.startswith(f"{part}.") for name in found.tensors)


@pytest.mark.parametrize(
    "fault, is_told", [(load_another, True), (partial(scale_weights, "actor"), False)]
)
def test_without_optimizers_only_what_has_nothing_left_is_told(
    tmp_path: Path, fault: Callable[[Any], None], is_told: bool
) -> None:
    train(tmp_path, "SAC", partial(At, FAULT, fault))
    strip_optimizers(tmp_path)
    assert bool(told(tmp_path)) == is_told


@pytest.mark.parametrize("rate", [1e-2, LinearSchedule(1e-2, 1e-4, 1.0)])
@pytest.mark.parametrize("algorithm", ["SAC", "PPO"])
def test_high_and_falling_rates_explain_long_ways(
    tmp_path: Path, algorithm: str, rate: Any
) -> None:
    train(tmp_path, algorithm, learning_rate=rate)
    assert told(tmp_path) == []


def test_a_schedule_of_ones_own_says_no_limit(tmp_path: Path) -> None:
    """Its rate may have been anything between the two checkpoints."""

    def peak(left: float) -> float:
        return 3e-2 if 0.3 < left < 0.45 else 3e-4

    train(tmp_path, "SAC", learning_rate=peak)
    assert told(tmp_path) == []


def test_weight_decay_says_no_limit(tmp_path: Path) -> None:
    decay = {"optimizer_class": th.optim.AdamW, "optimizer_kwargs": {"weight_decay": 10.0}}
    train(tmp_path, "PPO", policy_kwargs=decay, learning_rate=1e-2)
    assert told(tmp_path) == []


def test_weights_that_were_set_to_zero_are_the_business_of_other_rules(tmp_path: Path) -> None:
    def fault(model: Any) -> None:
        bias = model.policy.actor.latent_pi[0].bias
        with th.no_grad():
            bias.zero_()
        bias.requires_grad_(False)

    train(tmp_path, "SAC", partial(At, FAULT, fault))
    assert told(tmp_path) == []


def test_a_cause_comes_before_the_network_that_stands_still_since(tmp_path: Path) -> None:
    def fault(model: Any) -> None:
        scale_weights("actor", model)
        model.policy.actor.requires_grad_(False)

    train(tmp_path, "SAC", partial(At, FAULT, fault))
    (run,) = read_history(tmp_path).runs
    assert [finding.rule for finding in run.findings] == ["SD807"]
