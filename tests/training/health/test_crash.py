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
    assert crash.found_at <= 34  # within ten episodes
    assert crash.after < 30.0


def test_the_limit_is_three_standard_deviations() -> None:
    # windows of four: mean 10 and standard deviation sqrt(4/3), then the same deviation lower
    high = [9.0, 11.0, 9.0, 11.0]
    spread = math.sqrt(4 / 3)

    def fallen(spreads: float) -> int:
        return len(reward_crashes(high + [value - spreads * spread for value in high], window=4))

    assert fallen(2.99) == 0
    assert fallen(3.01) == 1


@pytest.mark.parametrize(
    "returns",
    [
        [],
        [1.0],
        alternating(9.0, 11.0, 200),
        [float(step) for step in range(200)],
        [500.0] * 30 + [440.0] * 30,  # below 15 % of a mean without spread
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
    returns = good + alternating(5.0, 15.0, 14) + good
    assert [crash.found_at for crash in reward_crashes(returns)] == [50]
    assert falls(np.array(returns)) == []  # the median of the 30 episodes after it is high


def test_a_slow_decline_has_no_point_at_which_it_crashed() -> None:
    decline = 100.0 - np.arange(400) / 4.0 + np.tile([3.0, -3.0], 200)
    assert reward_crashes([*decline])  # the best mean ever is far above the latest
    assert falls(decline) == []  # but no ten episodes are far above the next ten


def test_a_fall_for_good_begins_at_the_same_episode_in_hindsight() -> None:
    returns = alternating(90.0, 110.0, 40) + alternating(5.0, 15.0, 40)
    (crash,), (fall,) = reward_crashes(returns), falls(np.array(returns))
    assert crash.episode == fall.index == 40
