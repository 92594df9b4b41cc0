"""Optimizer states as PyTorch's own optimizers save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sacdoctor import Checkpoint, SacdoctorError, scan
from sacdoctor.checkpoint import Tensor
from tests.archives import write_sb3

OPTIMIZERS = {
    "Adam": (th.optim.Adam, {}),
    "AdamW": (th.optim.AdamW, {"amsgrad": True}),
    "RMSprop": (th.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    "SGD": (th.optim.SGD, {}),
    "SGD-momentum": (th.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adagrad": (th.optim.Adagrad, {}),
    "NAdam": (th.optim.NAdam, {}),
}


def stepped(name: str, steps: int = 3) -> th.optim.Optimizer:
    """An optimizer after a few steps; the last parameter never had a gradient."""
    th.manual_seed(0)
    layers = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)])
    cls, options = OPTIMIZERS[name]
    optimizer = cls(layers.parameters(), lr=0.01, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        layers[1](th.relu(layers[0](th.randn(5, 3)))).pow(2).sum().backward()
        optimizer.step()
    return optimizer


def read(tmp_path: Path, state: Any) -> Any:
    path = write_sb3(tmp_path / "m.zip", {}, optimizers={"actor.optimizer": state})
    with Checkpoint(path) as checkpoint:
        return checkpoint.optimizers["actor.optimizer"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_are_those_of_pytorch(tmp_path: Path, name: str) -> None:
    expected = stepped(name).state_dict()
    found = read(tmp_path, expected)
    assert found.entries == tuple(expected["param_groups"][0]["params"])
    kept = {number: moments for number, moments in expected["state"].items() if moments}
    assert found.moments.keys() == kept.keys()
    for number, moments in kept.items():
        assert found.moments[number].keys() == moments.keys()
        for key, value in moments.items():
            ours = found.moments[number][key]
            if isinstance(value, th.Tensor):
                assert isinstance(ours, Tensor)
                np.testing.assert_array_equal(ours.values, value.numpy())
            else:
                assert ours == value


@pytest.mark.parametrize("name", ["Adam", "SGD-momentum"])
def test_parameter_without_a_gradient_has_a_number_and_no_moments(
    tmp_path: Path, name: str
) -> None:
    found = read(tmp_path, stepped(name).state_dict())
    assert found.entries == (0, 1, 2, 3, 4, 5)
    assert set(found.moments) == {0, 1, 2, 3}


def test_options_of_a_group_are_kept(tmp_path: Path) -> None:
    state = stepped("Adam").state_dict()
    (group,) = read(tmp_path, state).groups
    expected = {k: v for k, v in state["param_groups"][0].items() if k != "params"}
    assert group.options == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.01, 0.01),
        (1, 1.0),
        (th.tensor(0.5), 0.5),
        (th.tensor([0.25]), 0.25),
        (np.float64(0.3), 0.3),
        (np.float32(0.5), 0.5),
        (np.int64(2), 2.0),
        (None, None),
        ("fast", None),
    ],
    ids=repr,
)
def test_learning_rate(tmp_path: Path, rate: Any, expected: float | None) -> None:
    state = {"state": {}, "param_groups": [{"lr": rate, "params": [0]}]}
    assert read(tmp_path, state).learning_rate == expected


def test_learning_rate_of_several_numbers_is_refused(tmp_path: Path) -> None:
    state = {"state": {}, "param_groups": [{"lr": th.ones(2), "params": [0]}]}
    path = write_sb3(tmp_path / "m.zip", {}, optimizers={"actor.optimizer": state})
    with pytest.raises(SacdoctorError, match="number"):
        scan(path)


def test_every_optimizer_of_the_zip_is_found(tmp_path: Path) -> None:
    state = stepped("Adam").state_dict()
    names = ("actor.optimizer", "critic.optimizer", "ent_coef_optimizer")
    path = write_sb3(tmp_path / "m.zip", {}, optimizers=dict.fromkeys(names, state))
    assert scan(path).optimizer_learning_rates == dict.fromkeys(names, 0.01)


def test_two_groups_are_kept_apart(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    groups = [{"params": [layer.weight], "lr": 0.1}, {"params": [layer.bias], "lr": 0.2}]
    found = read(tmp_path, th.optim.Adam(groups).state_dict())
    assert [group.learning_rate for group in found.groups] == [0.1, 0.2]
    assert [group.params for group in found.groups] == [(0,), (1,)]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"param_groups": {}},
        {"param_groups": [{}]},
        {"param_groups": [{"params": ["a"]}]},
        {"param_groups": [], "state": []},
        [1],
    ],
    ids=repr,
)
def test_other_forms_are_refused(tmp_path: Path, state: Any) -> None:
    with pytest.raises(SacdoctorError, match=r"actor\.optimizer\.pth"):
        read(tmp_path, state)


def test_options_that_nest_stand_as_the_name_of_their_type(tmp_path: Path) -> None:
    """Nothing that torch.optim writes nests, and walking through it might never end."""
    state = {
        "state": {0: {"kept": [[1]], "old_dirs": [th.ones(2)], "step": 2**64}},
        "param_groups": [{"params": [0], "lr": 10**400, "betas": (0.9, 0.999), "own": {"a": 1}}],
    }
    path = write_sb3(tmp_path / "m.zip", {}, {}, {"policy.optimizer": state})
    with Checkpoint(path) as checkpoint:
        optimizer = checkpoint.optimizers["policy.optimizer"]
        (group,) = optimizer.groups
        assert group.options == {"lr": "int", "betas": (0.9, 0.999), "own": "dict"}
        assert optimizer.learning_rate is None
        kept = optimizer.moments[0]
        assert (kept["kept"], kept["step"]) == ("list", "int")
        assert isinstance(kept["old_dirs"][0], Tensor)
