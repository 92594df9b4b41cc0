"""How far Adam can move a parameter, held against PyTorch's Adam under gradients of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from sacdoctor.history.reach import is_bounded, reach

RATE = 1e-3
WARM, UPDATES = 50, 300
GRADIENTS = {
    "steady": lambda t, z: np.ones_like(z),
    "noise": lambda t, z: z,
    "drifting noise": lambda t, z: z + 0.3,
    "growing by 1 %": lambda t, z: np.full_like(z, 1.01**t),
    "growing by 10 %": lambda t, z: np.full_like(z, 1.1**t),
    "fading": lambda t, z: np.full_like(z, 0.97**t),
    "rare": lambda t, z: np.full_like(z, 1.0 if t % 40 == 0 else 0.0),
    "larger now": lambda t, z: np.full_like(z, 1e-4 if t < WARM else 1.0),
    "turned round": lambda t, z: np.full_like(z, -1.0 if t < WARM else 1.0),
}


def moved(kind: str, betas: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """How far PyTorch's Adam moved 20 numbers, and how far they could have moved at most."""
    noise = np.random.default_rng(0).standard_normal((WARM + UPDATES, 20))
    parameter = th.nn.Parameter(th.zeros(20, dtype=th.float64))
    adam = th.optim.Adam([parameter], lr=RATE, betas=betas)
    before = start = np.zeros(0)
    for t in range(WARM + UPDATES):
        if t == WARM:
            before = adam.state[parameter]["exp_avg_sq"].numpy().copy()
            start = parameter.detach().numpy().copy()
        parameter.grad = th.tensor(GRADIENTS[kind](t, noise[t]))
        adam.step()
    after = adam.state[parameter]["exp_avg_sq"].numpy()
    distance = np.abs(parameter.detach().numpy() - start)
    return distance, reach(RATE, UPDATES, betas, before, after)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.999), (0.9, 0.99), (0.0, 0.9)])
@pytest.mark.parametrize("kind", GRADIENTS)
def test_adam_never_moves_further(kind: str, betas: tuple[float, float]) -> None:
    distance, limit = moved(kind, betas)
    assert is_bounded(betas)
    assert (distance <= limit).all()


def test_where_gradients_keep_their_size_the_limit_is_the_rate_per_update() -> None:
    """And 66 more that momentum may have carried in: 7.27 times 0.9005 ÷ (1 - 0.9005)."""
    same = np.full(1, 0.25)
    assert reach(RATE, 5000, (0.0, 0.999), same, same) == pytest.approx(5000 * RATE, rel=1e-3)
    with_momentum = reach(RATE, 5000, (0.9, 0.999), same, same)
    assert with_momentum == pytest.approx((5000 * 1.0045 + 66) * RATE, rel=1e-3)


def test_a_number_without_gradients_until_then_may_take_the_steepest_steps() -> None:
    """By hand: (1 - 0.9) / sqrt((1 - 0.999) (1 - 0.81 / 0.999)) = 7.27 rates a step."""
    limit = reach(RATE, 10, (0.9, 0.999), np.zeros(1), np.ones(1))
    assert limit == pytest.approx(10 * RATE * 7.27, rel=1e-3)


@pytest.mark.parametrize("betas", [(0.999, 0.9), (0.9, 0.9), (0.9, 1.0), (-0.1, 0.999)])
def test_odd_betas_have_no_limit(betas: tuple[float, float]) -> None:
    assert not is_bounded(betas)
