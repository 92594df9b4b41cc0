"""The pickle alone: `lr` is another number in every dict, and Python reads all else as before."""

from __future__ import annotations

import pickle
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacdoctor.checkpoint.rate_edit import with_rate

RATE = 0.125
RATES = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**40), 2**40),
    st.floats(0, 1).map(np.float64),
    st.floats(0, 1).map(lambda x: (x,)),
)
GROUPS = st.lists(
    st.tuples(RATES, st.booleans(), st.integers(0, 3)).map(tuple), min_size=1, max_size=5
)


@pytest.mark.parametrize("protocol", range(6))
@settings(max_examples=60, deadline=None)
@given(groups=GROUPS)
def test_whatever_groups_share_only_the_rates_change(protocol: int, groups: list[Any]) -> None:
    """`initial_lr` may be the rate itself, and a rate may be that of an earlier group."""
    made: list[dict[str, Any]] = []
    for rate, is_initial, earlier in groups:
        value = made[earlier]["lr"] if earlier < len(made) else rate
        made.append({"lr": value, "name": "lr"} | ({"initial_lr": value} if is_initial else {}))
    state = {"state": {0: {"lr_": made[0]["lr"]}}, "param_groups": made}
    after = pickle.loads(with_rate(pickle.dumps(state, protocol), RATE))
    assert [group.pop("lr") for group in after["param_groups"]] == [RATE] * len(made)
    for group in made:
        del group["lr"]
    assert after == state


def test_a_value_that_stays_keeps_what_it_recalls() -> None:
    """The second rate stays, for `initial_lr` is it; its dtype was written within the first."""
    first, second = np.float64(0.5), np.float64(0.25)
    state = {"param_groups": [{"lr": first}, {"lr": second, "initial_lr": second}]}
    for protocol in range(6):
        after = pickle.loads(with_rate(pickle.dumps(state, protocol), RATE))
        assert after["param_groups"] == [{"lr": RATE}, {"lr": RATE, "initial_lr": second}]


def test_a_rate_inside_a_rate_goes_with_it() -> None:
    for protocol in range(6):
        data = pickle.dumps({"lr": {"lr": 0.5, "x": [1]}, "y": 2}, protocol)
        after = pickle.loads(with_rate(data, RATE))
        assert after == {"lr": RATE, "y": 2}


def test_a_hundred_thousand_rates_are_changed_in_the_time_of_reading_them() -> None:
    """In time that grows with their number, not with its square."""
    data = pickle.dumps([{"lr": n / 7} for n in range(100_000)], 4)
    start = time.process_time()
    after = with_rate(data, RATE)
    assert time.process_time() - start < 5
    assert pickle.loads(after) == [{"lr": RATE}] * 100_000
