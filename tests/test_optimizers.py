"""What is known of each optimizer is what torch.optim and SB3 do, run live."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from sacdoctor import scan
from sacdoctor.optimizers import (
    OPTIMIZERS,
    SECOND_MOMENTS,
    STEP,
    TELLING_MOMENTS,
    Optimizer,
    decay_of,
    optimizer_among,
    optimizer_with,
    starting_at_one,
)
from tests.archives import write_sb3
from tests.diagnosis.handmade import PPO
from tests.extended import Extended

Build = Callable[[Iterable[nn.Parameter]], th.optim.Optimizer]
LIVE: dict[str, Build] = {
    "Adam": lambda p: th.optim.Adam(p, betas=(0.8, 0.9)),
    "AdamW": lambda p: th.optim.AdamW(p, betas=(0.8, 0.9), weight_decay=0.0),
    "RMSprop": lambda p: th.optim.RMSprop(p, alpha=0.9, momentum=0.5),
    "RMSpropTFLike": lambda p: RMSpropTFLike(p, alpha=0.9, momentum=0.5),
    "SGD": lambda p: th.optim.SGD(p, lr=0.1, momentum=0.5),
}
STEPS = 5

each_row = pytest.mark.parametrize("row", OPTIMIZERS.values(), ids=OPTIMIZERS)


def stepped(build: Build, *gradients: float, steps: int = STEPS) -> th.optim.Optimizer:
    """An optimizer after some steps with a constant gradient for each parameter of one element."""
    parameters = [nn.Parameter(th.ones(1)) for _ in gradients]
    optimizer = build(parameters)
    for _ in range(steps):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = th.full((1,), gradient)
        optimizer.step()
    return optimizer


def test_every_row_is_run_live() -> None:
    assert set(LIVE) == set(OPTIMIZERS)


@each_row
def test_second_moment_is_the_mean_of_squares_from_where_it_starts(row: Optimizer) -> None:
    """By hand: start × 0.9⁵ + (1 − 0.9⁵) g², of a constant gradient g."""
    state = stepped(LIVE[row.name], 0.0, 3.0).state_dict()
    if row.second_moment is None:
        assert not {key for kept in state["state"].values() for key in kept} & {*SECOND_MOMENTS}
        return
    (group,) = state["param_groups"]
    assert decay_of(row.second_moment, group) == 0.9
    left = 0.9**STEPS
    start = left if row.starts_at_one else 0.0
    for number, gradient in enumerate((0.0, 3.0)):
        moment = state["state"][number][row.second_moment].item()
        assert moment == pytest.approx(start + (1 - left) * gradient**2, rel=1e-6)


@each_row
def test_telling_moments_are_0_where_every_gradient_was(row: Optimizer) -> None:
    kept = stepped(LIVE[row.name], 0.0, 3.0).state_dict()["state"]
    keys = [key for key in TELLING_MOMENTS if key in kept[0]]
    assert keys == [key for key in (row.second_moment, row.momentum) if key is not None]
    assert all(kept[1][key].item() != 0.0 for key in keys)
    assert {key for key in keys if kept[0][key].item() != 0.0} == (
        {row.second_moment} if row.starts_at_one else set()
    )


@each_row
def test_momentum_is_kept_only_where_it_is_on(row: Optimizer) -> None:
    kept = stepped(LIVE[row.name], 1.0).state_dict()["state"][0]
    assert ("momentum_buffer" in kept) == (row.momentum == "momentum_buffer")
    if row.momentum is not None:
        optimizer = stepped(LIVE[row.name], 1.0, steps=0)
        optimizer.param_groups[0]["momentum"] = 0.0
        (parameter,) = optimizer.param_groups[0]["params"]
        parameter.grad = th.ones(1)
        optimizer.step()
        held = optimizer.state_dict()["state"].get(0, {}).get(row.momentum)
        assert held is None


@each_row
def test_steps_are_counted_under_one_key(row: Optimizer) -> None:
    kept = stepped(LIVE[row.name], 1.0).state_dict()["state"][0]
    assert float(kept.get(STEP, -1)) == (-1 if row.name == "SGD" else STEPS)


@each_row
def test_a_groups_options_tell_sgd_alone(row: Optimizer) -> None:
    (group,) = stepped(LIVE[row.name], 1.0).state_dict()["param_groups"]
    assert optimizer_with(group) == (row if row.own_option is not None else None)
    assert (row.own_option is not None) == (row.name == "SGD")


@each_row
def test_a_class_and_those_derived_from_it_are_known(row: Optimizer) -> None:
    live = type(stepped(LIVE[row.name], 1.0))
    derived = type("Mine", (live,), {})
    for cls in (live, derived):
        assert optimizer_among(base.__name__ for base in cls.__mro__) == row


def test_a_class_of_another_kind_is_not() -> None:
    assert optimizer_among(base.__name__ for base in th.optim.Rprop.__mro__) is None


def test_only_sb3s_rmsprop_starts_at_one() -> None:
    found = {key: starting_at_one(key) for key in TELLING_MOMENTS}
    assert found == {"exp_avg_sq": None, "square_avg": "RMSpropTFLike", "momentum_buffer": None}


@pytest.mark.parametrize("build", [th.optim.NAdam, th.optim.RAdam], ids=["NAdam", "RAdam"])
def test_optimizers_that_keep_the_same_are_read_alike(build: Build) -> None:
    state = stepped(build, 0.0, 3.0).state_dict()
    (group,) = state["param_groups"]
    assert decay_of("exp_avg_sq", group) == group["betas"][1]
    assert state["state"][0]["exp_avg_sq"].item() == 0.0
    assert state["state"][1]["exp_avg_sq"].item() == pytest.approx(9.0 * (1 - 0.999**STEPS))


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("exp_avg_sq", {}),
        ("exp_avg_sq", {"betas": (0.9,)}),
        ("exp_avg_sq", {"betas": 0.999}),
        ("exp_avg_sq", {"betas": (0.9, 1.0)}),
        ("exp_avg_sq", {"betas": (0.9, -0.1)}),
        ("exp_avg_sq", {"betas": (0.9, float("nan"))}),
        ("exp_avg_sq", {"betas": (0.9, "0.999")}),
        ("exp_avg_sq", {"alpha": 0.99}),
        ("square_avg", {"betas": (0.9, 0.999)}),
        ("momentum_buffer", {"betas": (0.9, 0.999), "alpha": 0.99}),
    ],
    ids=str,
)
def test_without_a_decay_of_its_own_a_moment_has_none(key: str, options: dict[str, Any]) -> None:
    assert decay_of(key, options) is None


# -- an optimizer from outside -----------------------------------------------------------------

TOY = """Optimizer("ToyProp", second_moment="grad_sq", decay=lambda options: options.get("rho"))"""
STARTING_AT_ONE = TOY.replace('"rho")', '"rho"), starts_at_one=True')


def state_of(moment: th.Tensor, *others: th.Tensor, step: float = 50.0) -> dict[str, Any]:
    moments = (th.full((4, 3), 0.5), moment, *others)
    kept = {n: {"step": th.tensor(step), "grad_sq": v} for n, v in enumerate(moments)}
    group = {"lr": 3e-4, "rho": 0.9, "params": [*range(len(moments))]}
    return {"state": kept, "param_groups": [group]}


def saved(folder: Path, moment: th.Tensor) -> Path:
    """A dead bias with this second moment, beside a head in order."""
    policy = {
        "net.weight": th.full((4, 3), 0.5),
        "net.bias": th.zeros(4),
        "head.weight": th.full((2, 4), 0.5),
        "head.bias": th.full((2,), 0.5),
    }
    state = state_of(moment, th.full((2, 4), 0.5), th.ones(2))
    return write_sb3(folder / "m.zip", policy, PPO, {"policy.optimizer": state})


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """The package with one row more in `optimizers.py`, and nothing else changed."""
    extended = Extended(tmp_path_factory.mktemp("toy"))
    extended.add_row("optimizers.py", TOY)
    return extended


def bias(report: dict[str, Any]) -> dict[str, Any]:
    (found,) = [layer for layer in report["layers"] if layer["name"] == "net.bias"]
    return found


@pytest.mark.parametrize(
    ("moment", "cause"), [(0.0, "zero-gradient"), (2.0, "reset-after-training")]
)
def test_a_row_makes_a_second_moment_tell(
    with_toy: Extended, tmp_path: Path, moment: float, cause: str
) -> None:
    path = saved(tmp_path, th.full((4,), moment))
    without = [layer for layer in scan(path).layers if layer.name == "net.bias"]
    assert [layer.cause for layer in without] == ["unknown"]
    found = bias(with_toy.scan(path))
    assert found["cause"] == cause
    assert found["evidence"].startswith("its grad_sq in policy.optimizer is ")


def test_a_row_makes_gradients_estimated(with_toy: Extended, tmp_path: Path) -> None:
    """By hand: √(4 × 1e12 ÷ (1 − 0.9⁵⁰)), the others are too small to count."""
    path = saved(tmp_path, th.full((4,), 1e12))
    assert "SD303" not in {finding.rule for finding in scan(path).findings}
    (found,) = [f for f in with_toy.scan(path)["findings"] if f["rule"] == "SD303"]
    norm = (4e12 / (1 - 0.9**50)) ** 0.5
    assert found["evidence"] == f"policy.optimizer: estimated gradient norm {norm:,.0f}"


def test_a_row_says_that_a_start_at_one_may_hide_the_gradients(tmp_path: Path) -> None:
    extended = Extended(tmp_path)
    extended.add_row("optimizers.py", STARTING_AT_ONE)
    start = th.ones(4)
    for _ in range(50):
        start.mul_(0.9)
    found = bias(extended.scan(saved(tmp_path, start)))
    assert found["cause"] == "unknown"
    assert "its grad_sq in policy.optimizer started at 1 (ToyProp)" in found["evidence"]
