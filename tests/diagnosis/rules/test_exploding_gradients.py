"""SD303: the gradient norm that an optimizer remembers, held against torch's own optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from sacdoctor import Checkpoint
from sacdoctor.diagnosis.rules.exploding_gradients import estimated_gradient_norm
from tests.archives import write_sb3
from tests.diagnosis.handmade import PPO, adam, finding, report, sgd

Build = Callable[[Iterable[nn.Parameter]], th.optim.Optimizer]
OPTIMIZERS: dict[str, Build] = {
    "Adam": lambda p: th.optim.Adam(p),
    "Adam-betas": lambda p: th.optim.Adam(p, betas=(0.5, 0.9)),
    "AdamW": lambda p: th.optim.AdamW(p, weight_decay=0.1),
    "AMSGrad": lambda p: th.optim.Adam(p, amsgrad=True),
    "RMSpropTFLike": lambda p: RMSpropTFLike(p, alpha=0.9),
}


def estimate(folder: Path, state: dict[str, Any]) -> float | None:
    path = write_sb3(folder / "m.zip", {"net.bias": th.ones(1)}, {}, {"policy.optimizer": state})
    with Checkpoint(path) as checkpoint:
        return estimated_gradient_norm(checkpoint.optimizers["policy.optimizer"])


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_constant_gradient_is_estimated_as_what_it_is(
    tmp_path: Path, name: str, steps: int
) -> None:
    th.manual_seed(0)
    net = nn.Linear(5, 7)
    gradients = [50.0 * th.randn_like(p) for p in net.parameters()]
    optimizer = OPTIMIZERS[name](net.parameters())
    for _ in range(steps):
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    norm = sqrt(sum(float(g.square().sum()) for g in gradients))
    assert estimate(tmp_path, optimizer.state_dict()) == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("name", ["Adam", "Adam-betas"])
def test_changing_gradients_are_averaged_with_bias_correction(tmp_path: Path, name: str) -> None:
    """Worked out by hand: the weighted mean of the squared norms, weights (1−β) β^age."""
    th.manual_seed(1)
    parameter = nn.Parameter(th.ones(6))
    optimizer = OPTIMIZERS[name]([parameter])
    beta = optimizer.param_groups[0]["betas"][1]
    gradients = [10.0 ** (step % 3) * th.randn(6) for step in range(12)]
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    weights = [beta**age for age in range(len(gradients))][::-1]
    squares = [float(g.double().square().sum()) for g in gradients]
    expected = sqrt(sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights))
    assert estimate(tmp_path, optimizer.state_dict()) == pytest.approx(expected, rel=1e-4)


def test_entries_count_by_their_own_steps(tmp_path: Path) -> None:
    """A layer that was stepped once beside one that was stepped a thousand times."""
    late, early = nn.Parameter(th.ones(2)), nn.Parameter(th.ones(2))
    optimizer = th.optim.Adam([{"params": [early]}, {"params": [late], "betas": (0.9, 0.99)}])
    for step in range(1000):
        early.grad = th.full((2,), 3.0)
        late.grad = th.full((2,), 4.0) if step == 999 else None
        optimizer.step()
    assert estimate(tmp_path, optimizer.state_dict()) == pytest.approx(sqrt(2 * 9 + 2 * 16), 1e-4)


@pytest.mark.parametrize("kind", ["RMSprop", "RMSpropTFLike"])
@pytest.mark.parametrize("steps", [1, 40, 300])
@pytest.mark.parametrize("size", [0.01, 1.0, 1e5])
def test_rmsprop_is_estimated_whether_it_started_at_0_or_1(
    tmp_path: Path, kind: str, steps: int, size: float
) -> None:
    """As A2C leaves it: α = 0.99, gradients of very different size, one bias without any."""
    build = th.optim.RMSprop if kind == "RMSprop" else RMSpropTFLike
    th.manual_seed(0)
    net = nn.Linear(5, 7)
    gradients = [size * th.randn_like(net.weight), th.zeros_like(net.bias)]
    optimizer = build(net.parameters(), alpha=0.99)
    for _ in range(steps):
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    # Squares of 1e-4 beside a start at 1: float32 keeps three digits of them.
    rel = 0.02 if kind == "RMSpropTFLike" and size < 1 else 1e-4
    assert estimate(tmp_path, optimizer.state_dict()) == pytest.approx(
        float(gradients[0].norm()), rel=rel
    )


def test_large_rmsprop_is_rather_under_than_overestimated(tmp_path: Path) -> None:
    """Where all of its elements are above 1, its start at 0 cannot be told from a start at 1."""
    parameter = nn.Parameter(th.ones(4))
    optimizer = th.optim.RMSprop([parameter])
    parameter.grad = th.full((4,), 100.0)
    optimizer.step()
    norm = estimate(tmp_path, optimizer.state_dict())
    assert norm is not None
    assert 0.99 * 200.0 < norm <= 200.0


def test_start_at_1_that_hides_the_gradients_leaves_no_estimate(tmp_path: Path) -> None:
    """Squares of 1e-8 are lost beside 1 in float32; a million starts are no gradient either."""
    parameter = nn.Parameter(th.zeros(1_500_000))
    optimizer = RMSpropTFLike([parameter], alpha=0.99)
    for _ in range(5):
        parameter.grad = th.full_like(parameter, 1e-4)
        optimizer.step()
    assert estimate(tmp_path, optimizer.state_dict()) is None


def test_rmsprop_without_any_gradient_has_norm_0(tmp_path: Path) -> None:
    parameter = nn.Parameter(th.zeros(6))
    optimizer = th.optim.RMSprop([parameter])
    parameter.grad = th.zeros(6)
    optimizer.step()
    assert estimate(tmp_path, optimizer.state_dict()) == 0.0


@pytest.mark.parametrize(
    "state",
    [adam([None, None]), sgd([th.ones(3)]), adam([]), adam([th.ones(2)], step=0)],
    ids=["no-moments", "sgd", "no-entries", "no-steps"],
)
def test_without_second_moments_there_is_no_estimate(tmp_path: Path, state: dict[str, Any]) -> None:
    assert estimate(tmp_path, state) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_moments_that_are_not_finite_are_left_to_sd301(tmp_path: Path, value: float) -> None:
    state = adam([th.tensor([value, 1.0])])
    assert estimate(tmp_path, state) == pytest.approx(float("nan"), nan_ok=True)
    found = report(tmp_path, {"net.bias": th.ones(2)}, PPO, {"policy.optimizer": state})
    assert finding(found, "SD303") is None
    assert finding(found, "SD301") is not None


def test_half_precision_moments_are_numbers_not_bits(tmp_path: Path) -> None:
    expected = sqrt(4 * 9 / (1 - 0.999**100))
    for dtype in (th.float16, th.bfloat16, th.float64):
        state = adam([th.full((4,), 9.0, dtype=dtype)])
        assert estimate(tmp_path, state) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("norm", "severity"),
    [(9_999.0, None), (10_001.0, "warning"), (999_900.0, "warning"), (1_000_100.0, "critical")],
)
def test_severity_at_the_borders(tmp_path: Path, norm: float, severity: str | None) -> None:
    """After 10,000 steps the bias correction is 1.00005, within the margins above."""
    second = th.full((4,), norm**2 / 4, dtype=th.float64)
    state = {"policy.optimizer": adam([second], step=20_000)}
    one = finding(report(tmp_path, {"net.bias": th.ones(4)}, PPO, state), "SD303")
    assert (one and one.severity) == severity


def test_each_optimizer_is_measured_by_itself(tmp_path: Path) -> None:
    policy = {"actor.net.bias": th.ones(4), "critic.net.bias": th.ones(5)}
    state = {
        "actor.optimizer": adam([th.ones(4)], step=20_000),
        "critic.optimizer": adam([th.full((5,), 1e10)], step=20_000),
    }
    one = finding(report(tmp_path, policy, {}, state), "SD303")
    assert one is not None
    assert one.message == "gradients explode in critic.optimizer"
    assert one.evidence == "critic.optimizer: estimated gradient norm 223,607"


def test_an_entry_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    """Torch only warns where a parameter is given to an optimizer twice."""
    parameter = nn.Parameter(th.ones(6))
    optimizer = th.optim.Adam([parameter])
    parameter.grad = th.full((6,), 10.0)
    optimizer.step()
    state = optimizer.state_dict()
    state["param_groups"][0]["params"] = [0, 0]
    state["param_groups"] *= 2
    assert estimate(tmp_path, state) == pytest.approx(sqrt(6 * 100.0), rel=1e-4)
