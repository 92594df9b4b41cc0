"""Why a bias of a live model is zero, told while its gradients and optimizers are there."""

from __future__ import annotations

import pytest

from fixtures.faulty_training import train, zero
from tests.training.gradients.test_guard import weights
from tests.training.injured import (
    INJURED,
    ONE_ROLLOUT,
    more,
    system,
    warnings,
)

pytestmark = pytest.mark.slow


def test_a_target_that_has_not_followed_yet_is_not_out_of_sync() -> None:
    """DQN copies its online network after 10,000 steps; layers that start at zero stay so."""
    model = train("DQN", before=[zero("*.bias")], target_update_interval=10_000)
    callback = system()
    callback.init_callback(model)
    assert callback.check().dead == ()
    assert weights(model)["q_net.q_net.0.bias"].all()


@pytest.mark.parametrize("algorithm", INJURED)
@pytest.mark.parametrize(
    ("use", "cause"), [("detached", "no-gradient"), ("silenced", "zero-gradient")]
)
def test_a_branch_that_is_cut_off_live_has_no_gradient(
    algorithm: str, use: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = train(algorithm, extractor={"branch": "used"})
    for module in model.policy.modules():
        if hasattr(module, "_use"):
            module._use = use
    more(model, ONE_ROLLOUT[algorithm], None)
    zero("*branch.0.bias")(model)
    callback = system()
    more(model, ONE_ROLLOUT[algorithm], callback)
    dead = {b.name: b for check in callback.history for b in check.dead}
    assert dead and all(name.endswith("branch.0.bias") for name in dead)
    assert {bias.cause for bias in dead.values()} == {cause}
    repairs = [r for check in callback.history for r in check.repaired]
    assert len(repairs) == len(dead) and not any(r.lasts for r in repairs)
    assert any(cause in line and "will not last" in line for line in warnings(caplog))
