"""Lasting falls of the return: found to the episode, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from sacdoctor.history.crash import falls, low_end

Values = np.ndarray[Any, np.dtype[np.float64]]
Draw = np.random.Generator


def _walk(draw: Draw, count: int) -> Values:
    return np.cumsum(draw.normal(0, 0.1, count)) + draw.normal(0, 1, count)


def _unstable(draw: Draw, count: int) -> Values:
    """DQN on CartPole: the level jumps with every 256 steps of updates, and comes back."""
    returns, level, steps, updated = [], 20.0, 0.0, 0.0
    while len(returns) < count:
        returns.append(min(max(level * draw.gamma(4.0, 0.25), 8.0), 500.0))
        steps += returns[-1]
        if steps - updated > 256:
            updated, learned = steps, min(500.0, 20.0 + steps / 40.0)
            level = draw.choice([15.0, 40.0, 100.0]) if draw.random() < 0.03 else learned
    return np.array(returns)


def _curriculum(draw: Draw, count: int) -> Values:
    """Five lessons: each begins with worse returns, and is learned."""
    within = (np.arange(count) * 5 / max(count, 1)) % 1.0
    return 100.0 * (1.0 - 0.8 * np.exp(-within / 0.15)) + draw.normal(0.0, 5.0, count)


HEALTHY: dict[str, Callable[[Draw, int], Values]] = {
    "noise": lambda draw, n: draw.normal(0, 1, n),
    "heavy tails": lambda draw, n: -draw.lognormal(0, 1.5, n),
    "outliers": lambda draw, n: draw.standard_cauchy(n),
    "good or bad": lambda draw, n: (draw.random(n) < 0.7).astype(float),
    "learning": lambda draw, n: 500 * np.arange(n) / n + draw.normal(0, 40, n),
    "slow decline": lambda draw, n: -3 * np.arange(n) / n + draw.normal(0, 1, n),
    "wandering": _walk,
    "unstable": _unstable,
    "curriculum": _curriculum,
    "solved": lambda draw, n: np.full(n, 500.0),
    "solved but for single episodes": lambda draw, n: np.where(draw.random(n) < 0.1, 9.0, 500.0),
}


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("episodes", [0, 1, 19, 40, 150, 1_000])
def test_healthy_runs_have_no_crash(kind: str, episodes: int) -> None:
    draw = np.random.default_rng(0)
    found = [falls(HEALTHY[kind](draw, episodes)) for _ in range(20)]
    assert sum(map(len, found)) <= 1  # of 20 runs: chance has its say


@pytest.mark.parametrize(("episodes", "crash"), [(40, 20), (70, 60), (300, 120), (1_000, 900)])
@pytest.mark.parametrize(("before", "after", "spread"), [(-150, -1_200, 80), (500, 20, 15)])
def test_crash_is_found_to_the_episode(
    episodes: int, crash: int, before: float, after: float, spread: float
) -> None:
    draw = np.random.default_rng(1)
    level = np.where(np.arange(episodes) < crash, before, after)
    (fall,) = falls(level + draw.normal(0, spread, episodes))
    assert fall.index == crash
    assert fall.before == pytest.approx(before, abs=spread)
    assert fall.after == pytest.approx(after, abs=spread)


def test_crash_after_learning_is_found() -> None:
    level = np.concatenate([np.linspace(0, 500, 80), np.full(40, 500.0), np.full(30, 30.0)])
    (fall,) = falls(level + np.random.default_rng(2).normal(0, 20, 150))
    assert fall.index == 120


def test_two_crashes_are_two() -> None:
    level = np.repeat([100.0, 0.0, 100.0, 0.0], 40)
    found = falls(level + np.random.default_rng(3).normal(0, 5, 160))
    assert [fall.index for fall in found] == [40, 120]


@pytest.mark.parametrize("seed", range(20))
def test_collapse_of_returns_that_vary_as_much_as_they_are_high_is_found(seed: int) -> None:
    """CartPole, 309 ± 135, down to 9.4 for 30 episodes: by 2.2 standard deviations, for good."""
    draw = np.random.default_rng(seed)
    learning = np.linspace(20, 309, 60) * draw.gamma(5, 0.2, 60)
    learned = np.clip(draw.normal(309, 135, 90), 20, 500)
    (fall,) = falls(np.concatenate([learning, learned, draw.normal(9.4, 0.7, 30)]))
    assert 145 <= fall.index <= 150  # a bad episode or two may come just before
    assert fall.after == pytest.approx(9.4, abs=1)


@pytest.mark.parametrize("seed", range(20))
def test_goal_that_is_never_reached_again_is_a_crash(seed: int) -> None:
    """A sparse reward: the goal is reached four times of five, and from episode 200 on never."""
    draw = np.random.default_rng(seed)
    reached = draw.random(300) < np.where(np.arange(300) < 200, 0.85, 0.0)
    (fall,) = falls(np.where(reached, 93.0, -20.0) + draw.normal(0, 2, 300))
    assert 190 <= fall.index <= 200


@pytest.mark.parametrize(("low", "expected"), [(40, []), (100, [200])])
def test_fall_that_is_made_up_for_is_a_crash_where_that_took_long(
    low: int, expected: list[int]
) -> None:
    """A fifth of the run, here 80 of 400 episodes."""
    level = np.concatenate([np.full(200, 100.0), np.full(low, 0.0), np.full(200 - low, 100.0)])
    found = falls(level + np.random.default_rng(8).normal(0, 5, 400))
    assert [fall.index for fall in found] == expected


def test_long_in_episodes_may_be_short_in_timesteps() -> None:
    """100 of 400 episodes, but only 900 of 150,900 timesteps."""
    returns = np.concatenate([np.full(200, 500.0), np.full(100, 9.0), np.full(100, 500.0)])
    assert len(falls(returns)) == 1
    assert falls(returns, timesteps=np.cumsum(returns)) == []


def test_learner_that_fell_as_long_before_has_not_crashed() -> None:
    parts = [(20, 60), (400, 60), (9, 40), (400, 80), (9, 60)]
    level = np.concatenate([np.full(count, float(value)) for value, count in parts])
    returns = level * np.random.default_rng(9).gamma(4, 0.25, len(level))
    assert falls(returns) == []
    (fall,) = falls(np.concatenate([returns, np.full(60, 9.0)]))
    assert fall.index == 240


def test_end_in_a_fall_that_is_no_crash_yet_is_told() -> None:
    """As low for as long as once before, when it came back; then for twice as long."""
    parts = [(20, 60), (400, 60), (9, 40), (400, 80), (9, 60)]
    level = np.concatenate([np.full(count, float(value)) for value, count in parts])
    returns = level * np.random.default_rng(9).gamma(4, 0.25, len(level))
    assert falls(returns) == []
    end = low_end(returns)
    assert end is not None
    assert 230 <= end.since < 240 and 58 <= end.count <= 62  # as windows of ten tell it
    assert end.best == pytest.approx(400, abs=60)
    assert end.final == pytest.approx(9, abs=2)
    assert low_end(returns[:235]) is None  # it was well then


@pytest.mark.parametrize("kind", sorted(HEALTHY.keys() - {"unstable", "wandering", "slow decline"}))
@pytest.mark.parametrize("episodes", [0, 19, 40, 150, 1_000])
def test_end_of_a_healthy_run_needs_no_word(kind: str, episodes: int) -> None:
    draw = np.random.default_rng(10)
    assert all(low_end(HEALTHY[kind](draw, episodes)) is None for _ in range(20))


def test_dip_of_a_few_episodes_is_no_crash() -> None:
    values = np.random.default_rng(4).normal(100, 5, 200)
    values[100:104] = 0
    assert falls(values) == []


def test_running_mean_that_falls_slowly_is_found_where_it_begins() -> None:
    """SB3's `ep_rew_mean` over 100 episodes, logged every fourth: a fall takes 25 rows."""
    returns = np.where(np.arange(600) < 300, 0.0, -100.0)
    returns += np.random.default_rng(5).normal(0, 5, 600)
    rows = np.array([returns[max(0, end - 100) : end].mean() for end in range(4, 601, 4)])
    (fall,) = falls(rows, lag=25)
    assert 75 <= fall.index <= 77
    assert (fall.before, fall.after) == (pytest.approx(0, abs=3), pytest.approx(-100, abs=3))
    assert falls(rows[:76], lag=25) == []


def _rows(returns: Values, ends: Iterable[int]) -> Values:
    """SB3's `ep_rew_mean` after so many episodes: the mean of the last 100 of them."""
    return np.array([returns[max(0, end - 100) : end].mean() for end in ends])


LOGGED: dict[str, tuple[Callable[[int], Iterable[int]], int]] = {
    "every fourth episode": (lambda n: range(4, n + 1, 4), 25),
    "every twentieth episode": (lambda n: range(20, n + 1, 20), 5),
    "one or two episodes a row": (lambda n: (1 + 3 * row // 2 for row in range(2 * n // 3)), 67),
    "three rows an episode": (lambda n: (1 + row // 3 for row in range(3 * n)), 300),
    "16 environments in step": (lambda n: np.repeat(np.arange(16, n + 1, 16), 3), 19),
}
"""After how many episodes a row was written, of n, and over how many rows 100 episodes go."""


@pytest.mark.parametrize("logged", LOGGED)
@pytest.mark.parametrize(("before", "after", "spread"), [(22, -41, 3.5), (20, 0, 3), (500, 9, 0)])
def test_collapse_is_found_in_a_running_mean_of_few_episodes(
    logged: str, before: float, after: float, spread: float
) -> None:
    """The fall itself takes a third of the log's rows and is no part of the usual spread."""
    ends, lag = LOGGED[logged]
    episodes = 600 if logged == "every twentieth episode" else 300
    draw = np.random.default_rng(7)
    level = np.where(np.arange(episodes) < episodes // 2, before, after)
    returns = level + draw.normal(0, spread, episodes)
    (fall,) = falls(_rows(returns, ends(episodes)), lag)
    first_low = int(np.argmax(np.array(list(ends(episodes))) > episodes // 2))
    assert first_low <= fall.index <= first_low + lag / 4
    assert fall.before == pytest.approx(before, abs=max(spread, 1))
    assert fall.after == pytest.approx(after, abs=max(spread, 1))


@pytest.mark.parametrize("logged", LOGGED)
@pytest.mark.parametrize("kind", HEALTHY)
def test_running_mean_of_a_healthy_run_has_no_crash(kind: str, logged: str) -> None:
    draw = np.random.default_rng(6)
    ends, lag = LOGGED[logged]
    found = [
        falls(_rows(HEALTHY[kind](draw, episodes), ends(episodes)), lag)
        for episodes in (50, 200, 400, 1_000)
        for _ in range(3)
    ]
    # Of 12 runs: chance has its say, the more where outliers leave returns without a mean.
    assert sum(map(len, found)) <= (2 if kind == "outliers" else 1)
