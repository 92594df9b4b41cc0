"""What was zeroed between two checks is named though no element is zero any more."""

from __future__ import annotations

import pytest
import torch as th

from fixtures.faulty_training import At, train, zero
from tests.training.injured import more, system

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        ("SAC", "actor.mu.bias"),
        ("SAC", "critic.qf0.2.bias"),
        ("TD3", "actor.mu.4.bias"),
        ("A2C", "mlp_extractor.value_net.2.bias"),
        ("SAC", "actor.latent_pi.2.weight"),
        ("SAC", "critic_target.qf0.2.bias"),
    ],
)
def test_a_tensor_that_was_zeroed_and_trained_on_is_named(algorithm: str, name: str) -> None:
    model = train(algorithm)
    start = model.num_timesteps
    callback = system(check_frequency=40)
    more(model, 160, [At(start + 50, zero(name)), callback])
    told = [
        (check.num_timesteps - start, finding.name, finding.tensors)
        for check in callback.history
        for finding in check.findings
        if name in finding.tensors
    ]
    assert told and told[0][0] <= 120, callback.history
    assert told[0][1] == "reset-after-training"


@pytest.mark.parametrize("network", ["actor", "critic", "critic_target"])
def test_all_biases_of_a_network_zeroed_at_once_are_named(network: str) -> None:
    """They are half of its parameters, so that no majority tells how often it was stepped."""
    model = train("SAC")
    biases = {
        f"{network}.{name}": parameter
        for name, parameter in getattr(model, network).named_parameters()
        if name.endswith("bias")
    }

    def wipe(_: object) -> None:
        with th.no_grad():
            for bias in biases.values():
                bias.zero_()

    start = model.num_timesteps
    callback = system(check_frequency=40)
    more(model, 120, [At(start + 50, wipe), callback])
    findings = [finding for check in callback.history for finding in check.findings]
    named = {name for finding in findings for name in finding.tensors}
    assert named >= {*biases}


def test_writes_that_leave_the_values_are_no_fault() -> None:
    model = train("SAC")
    weight = dict(model.policy.named_parameters())["actor.mu.weight"]

    def clip(_: object) -> None:
        with th.no_grad():
            weight.clamp_(-10.0, 10.0)

    start = model.num_timesteps
    callback = system(check_frequency=40)
    more(model, 120, [At(start + 50, clip), callback])
    assert not any(check.findings for check in callback.history)
