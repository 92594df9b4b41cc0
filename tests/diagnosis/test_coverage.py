"""The optimizers' entries get their names back: held against identity in the live models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch as th
from hypothesis import HealthCheck, given, settings
from torch import nn

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis.coverage import Coverage, Slot
from sacdoctor.diagnosis.facts import Facts
from tests.archives import write_sb3
from tests.diagnosis.live_optimizers import Live, live
from tests.labelled import READABLE, Labelled

OPEN = {
    "odd_buffers_ppo": "the entries are those of a BatchNorm or of two buffers like it",
    "odd_buffers_ppo_reset": "the same",
    "odd_buffers_sac": "the same",
    "odd_buffers_sac_reset": "the same",
    "odd_twin_head_ppo": "two layers of the same shapes, one of them outside",
    "odd_twin_layer_sac": "the same",
    "odd_late_trpo": "the policy's entries have no moments, so no shapes",
    "unknown_sgd_late_ppo": "no entry has moments",
}
"""The cases in which the file leaves open what some entries are, and why."""


def coverage(path: Path) -> Coverage:
    with Checkpoint(path) as checkpoint:
        return Facts(checkpoint).coverage


# -- the labelled checkpoints ------------------------------------------------------------------


@pytest.mark.parametrize("name", READABLE)
def test_every_slot_is_the_live_parameters(labelled: Labelled, name: str) -> None:
    label = labelled.label(name)
    order: Mapping[str, list[str]] = label["optimizers"]
    without_state = set(label["no_state"])
    for tensor, slots in coverage(labelled.path(name)).slots.items():
        for slot in slots:
            owner = order[slot.optimizer][slot.number]
            # Of entries without moments any one says the same.
            assert owner == tensor or {owner, tensor} <= without_state | _targets(order)


@pytest.mark.parametrize("name", READABLE)
def test_what_is_outside_is_in_no_live_optimizer(labelled: Labelled, name: str) -> None:
    label = labelled.label(name)
    with Checkpoint(labelled.path(name)) as checkpoint:
        facts = Facts(checkpoint)
        outside = facts.coverage.outside & {*facts.parameters}  # less buffers
    entered = {tensor for names in label["optimizers"].values() for tensor in names}
    assert not facts.coverage.outside & entered
    assert outside <= {*label["not_in_optimizer"]}


@pytest.mark.parametrize("name", [n for n in READABLE if n not in OPEN])
def test_nothing_is_left_open_without_need(labelled: Labelled, name: str) -> None:
    label = labelled.label(name)
    path = labelled.path(name)
    with Checkpoint(path) as checkpoint:
        saved = {*checkpoint.optimizers}
    found = coverage(path)
    entered = {t for o, names in label["optimizers"].items() if o in saved for t in names}
    assert {*found.slots} == entered
    if saved:
        assert found.outside >= {*label["not_in_optimizer"]}


@pytest.mark.parametrize("name", OPEN)
def test_where_the_file_leaves_it_open_so_does_the_map(labelled: Labelled, name: str) -> None:
    label = labelled.label(name)
    found = coverage(labelled.path(name))
    entered = {tensor for names in label["optimizers"].values() for tensor in names}
    assert entered - {*found.slots}


def _targets(order: Mapping[str, Iterable[str]]) -> set[str]:
    return {name for names in order.values() for name in names if "_target." in name}


# -- random modules, saved and read back -------------------------------------------------------


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(made=live(whole_layers=True))
def test_no_claim_about_a_file_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, made: Live
) -> None:
    path = tmp_path_factory.mktemp("live") / "m.zip"
    optimizers = {"policy.optimizer": made.optimizer.state_dict()}
    found = coverage(write_sb3(path, made.module.state_dict(), {}, optimizers))
    for name, slots in found.slots.items():
        for slot in slots:
            assert made.says_truly(name, slot.number), (name, slot.number)
    assert not found.outside & set(made.order)


# -- which part of the policy an optimizer looks after -----------------------------------------


def state_of(
    parameters: Iterable[nn.Parameter], optimizer: type[th.optim.Optimizer] = th.optim.Adam
) -> dict[str, Any]:
    """The state dict of an optimizer after one step with a gradient everywhere."""
    made = optimizer([*parameters], lr=1e-3)
    for group in made.param_groups:
        for parameter in group["params"]:
            parameter.grad = th.ones_like(parameter)
    made.step()
    return made.state_dict()


def actor_and_critic() -> nn.ModuleDict:
    names = ("actor", "critic", "critic_target")
    return nn.ModuleDict({name: nn.Sequential(nn.Linear(3, 2)) for name in names})


def test_each_optimizer_covers_the_part_that_it_is_named_after(tmp_path: Path) -> None:
    policy = actor_and_critic()
    optimizers = {
        f"{part}.optimizer": state_of(policy[part].parameters()) for part in ("actor", "critic")
    }
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert found.slots == {
        "actor.0.weight": (Slot("actor.optimizer", 0),),
        "actor.0.bias": (Slot("actor.optimizer", 1),),
        "critic.0.weight": (Slot("critic.optimizer", 0),),
        "critic.0.bias": (Slot("critic.optimizer", 1),),
    }
    assert not found.outside


@pytest.mark.parametrize("kept", ["actor", "critic"])
def test_part_whose_optimizer_is_not_in_the_file_is_not_called_outside(
    tmp_path: Path, kept: str
) -> None:
    policy = actor_and_critic()
    optimizers = {
        f"{kept}.optimizer": state_of(policy[kept].parameters()),
        "ent_coef_optimizer": state_of([nn.Parameter(th.zeros(1))]),
    }
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert {*found.slots} == {f"{kept}.0.weight", f"{kept}.0.bias"}
    assert not found.outside


def test_optimizer_of_the_entropy_coefficient_says_nothing_about_the_policy(
    tmp_path: Path,
) -> None:
    policy = nn.ModuleDict({"actor": nn.Linear(3, 2), "encoder": nn.Linear(3, 2)})
    optimizers = {"ent_coef_optimizer": state_of([nn.Parameter(th.zeros(1))])}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert found == Coverage({}, frozenset())


def test_target_network_is_outside_of_no_optimizer(tmp_path: Path) -> None:
    policy = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("q_net", "q_net_target")})
    optimizers = {"policy.optimizer": state_of(policy["q_net"].parameters())}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert {*found.slots} == {"q_net.weight", "q_net.bias"}
    assert not found.outside


def test_target_network_may_be_in_the_optimizer_as_before_sb3_1_5(tmp_path: Path) -> None:
    policy = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("q_net", "q_net_target")})
    optimizer = th.optim.Adam(policy.parameters())
    for parameter in policy["q_net"].parameters():
        parameter.grad = th.ones_like(parameter)
    optimizer.step()
    optimizers = {"policy.optimizer": optimizer.state_dict()}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert found.slots["q_net.weight"] == (Slot("policy.optimizer", 0),)
    assert found.slots["q_net_target.bias"] == (Slot("policy.optimizer", 3),)


def test_shared_layer_has_a_slot_in_each_optimizer(tmp_path: Path) -> None:
    """Under its first name: the second one is an alias in the file."""
    shared = nn.Linear(3, 3)
    policy = nn.ModuleDict(
        {part: nn.Sequential(shared, nn.Linear(3, 2)) for part in ("actor", "critic")}
    )
    optimizers = {
        f"{part}.optimizer": state_of(policy[part].parameters()) for part in ("actor", "critic")
    }
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    both = (Slot("actor.optimizer", 0), Slot("critic.optimizer", 0))
    assert found.slots["actor.0.weight"] == both
    assert "critic.0.weight" not in found.slots
    assert not found.outside


@pytest.mark.parametrize("kind", [th.optim.Adam, th.optim.RMSprop, th.optim.Adagrad])
def test_late_layer_is_outside_whatever_the_optimizer(
    tmp_path: Path, kind: type[th.optim.Optimizer]
) -> None:
    policy = nn.ModuleDict({"net": nn.Linear(3, 2), "late": nn.Linear(2, 5)})
    optimizers = {"policy.optimizer": state_of(policy["net"].parameters(), kind)}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert found.outside == {"late.weight", "late.bias"}


def test_entries_that_fit_nowhere_say_nothing(tmp_path: Path) -> None:
    policy = nn.ModuleDict({"net": nn.Linear(3, 2)})
    optimizers = {"policy.optimizer": state_of(nn.Linear(7, 7).parameters())}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert found == Coverage({}, frozenset())


def test_integer_tensors_and_running_means_are_candidates_of_nothing(tmp_path: Path) -> None:
    policy = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizers = {"policy.optimizer": state_of(policy.parameters())}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert {*found.slots} == {name for name, _ in policy.named_parameters()}
    assert not found.outside


def test_spectral_norm_keeps_vectors_beside_its_weight_that_are_no_parameters(
    tmp_path: Path,
) -> None:
    """Its two buffers have the shapes of the LayerNorm that follows."""
    linear = nn.utils.spectral_norm(nn.Linear(4, 4))
    policy = nn.Sequential(linear, nn.LayerNorm(4), nn.Linear(4, 2))
    optimizers = {"policy.optimizer": state_of(policy.parameters())}
    found = coverage(write_sb3(tmp_path / "m.zip", policy.state_dict(), {}, optimizers))
    assert not found.outside & {name for name, _ in policy.named_parameters()}
