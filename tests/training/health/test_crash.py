"""Crashes in returns made by hand, found as the episodes come in; and none where there is none."""

import math

import numpy as np
import pytest

from sacdoctor.history.crash import falls
from sacdoctor.training.health.crash import reward_crashes


def alternating(low: float, high: float, count: int) -> list[float]:
    return [low, high] * (count // 2)


def test_a_fall_is_a_crash_that_begins_with_its_first_low_episode() -> None:
    returns = alternating(90.0, 110.0, 24) + alternating(5.0, 15.0, 20)
    (crash,) = reward_crashes(returns)
    assert crash.episode == 24
    assert crash.timesteps == 25
    assert crash.before == 100.0
    assert crash.found_at == 44  # once twenty episodes agree
    assert crash.after == 10.0


def test_the_limit_is_in_standard_errors_of_the_difference_of_two_means() -> None:
    # Two means of four, each return with a deviation of √(4/3): the difference's standard error is
    # √(4/3 / 4 + 4/3 / 4) = √(2/3). The least spread, 5 % of 100, counts for neither.
    high = [999.0, 1_001.0, 999.0, 1_001.0]
    spread, least = math.sqrt(4 / 3), 50.0

    def fallen(errors: float, returns: list[float], each: float) -> int:
        low = [value - errors * each * math.sqrt(2 / 4) for value in returns]
        return len(reward_crashes(returns + low, window=4))

    assert fallen(6.69, high, least) == 0
    assert fallen(6.71, high, least) == 1
    around_zero = [value - 1_000.0 for value in high]
    assert fallen(6.69, around_zero, spread) == 0
    assert fallen(6.71, around_zero, spread) == 1


@pytest.mark.parametrize("seed", range(10))
def test_returns_that_vary_as_much_as_they_are_high_can_crash(seed: int) -> None:
    """CartPole, 309 ± 135, falls to 9.4: by 2.2 spreads, and by ten standard errors."""
    draw = np.random.default_rng(seed)
    learning = np.linspace(20.0, 309.0, 60) + draw.normal(0.0, 20.0, 60)
    good = np.clip(draw.normal(309.0, 135.0, 40), 9.0, 500.0)
    (crash,) = reward_crashes([*learning, *good, *draw.normal(9.4, 0.8, 30)])
    assert 97 <= crash.episode <= 100
    assert crash.found_at <= 130


def test_a_setback_that_keeps_much_of_what_was_learned_is_no_crash() -> None:
    learned = alternating(0.0, 10.0, 20) + alternating(90.0, 110.0, 40)
    assert reward_crashes(learned + alternating(35.0, 45.0, 40)) == ()
    (crash,) = reward_crashes(learned + alternating(15.0, 25.0, 40))
    assert crash.episode == 60


def test_a_fall_must_outlast_those_that_the_run_came_back_from() -> None:
    good, bad = alternating(90.0, 110.0, 30), alternating(5.0, 15.0, 18)
    swings = good + bad + good + bad + good
    assert reward_crashes(swings) == ()
    (crash,) = reward_crashes(swings + alternating(5.0, 15.0, 30))
    assert crash.found_at == len(swings) + 20


def test_an_episode_whose_return_is_not_a_number_is_left_out() -> None:
    good = alternating(90.0, 110.0, 24)
    returns = [math.nan, *good, math.inf, *alternating(5.0, 15.0, 20)]
    (crash,) = reward_crashes(returns)
    assert crash.episode == 26


@pytest.mark.parametrize(
    "returns",
    [
        [],
        [1.0],
        alternating(9.0, 11.0, 200),
        [float(step) for step in range(200)],
        [500.0] * 30 + [450.0] * 30,  # below 10.6 % of a mean without spread
        [10.0] * 30 + [-1e3] + [10.0] * 30,  # one bad episode
        list(np.random.default_rng(0).normal(-150.0, 60.0, 3_000)),
        list(np.random.default_rng(1).exponential(100.0, 3_000)),
    ],
    ids=["none", "one", "steady", "rising", "small fall", "outlier", "noise", "skewed"],
)
def test_what_is_no_crash(returns: list[float]) -> None:
    assert reward_crashes(returns) == ()


def test_each_crash_is_told_once_and_a_second_one_after_a_recovery() -> None:
    good, bad = alternating(90.0, 110.0, 20), alternating(0.0, 10.0, 40)
    crashes = reward_crashes(good + bad + good + bad)
    assert [crash.episode for crash in crashes] == [20, 80]


def test_a_window_needs_two_episodes() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        reward_crashes([1.0], window=1)


def test_a_fall_that_is_made_up_for_is_a_crash_only_while_it_lasts() -> None:
    good = alternating(90.0, 110.0, 40)
    returns = good + alternating(5.0, 15.0, 24) + good
    assert [crash.found_at for crash in reward_crashes(returns)] == [60]
    assert falls(np.array(returns)) == []  # the median of the 30 episodes after it is high


def test_a_slow_decline_has_no_point_at_which_it_crashed() -> None:
    decline = 100.0 - np.arange(400) / 4.0 + np.tile([3.0, -3.0], 200)
    assert reward_crashes([*decline])  # the best mean ever is far above the latest
    assert falls(decline) == []  # but no ten episodes are far above the next ten


def test_a_fall_for_good_begins_at_the_same_episode_in_hindsight() -> None:
    returns = alternating(90.0, 110.0, 40) + alternating(5.0, 15.0, 40)
    (crash,), (fall,) = reward_crashes(returns), falls(np.array(returns))
    assert crash.episode == fall.index == 40
