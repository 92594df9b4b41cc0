"""Layers without a gradient are named within two checks, for the reason that gradients show."""

from __future__ import annotations

from collections.abc import Callable

import torch as th
from torch import nn

from sacdoctor.model import Finding
from sacdoctor.training.live import LiveModel
from sacdoctor.training.zeros import ModelWatch


def network() -> nn.Sequential:
    th.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def trained(
    net: nn.Sequential,
    optimizer: th.optim.Optimizer,
    updates: int = 30,
    forward: Callable[[th.Tensor], th.Tensor] | None = None,
) -> None:
    for _ in range(updates):
        inputs = th.rand(16, 3)
        loss = ((forward or net)(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def watch(net: nn.Module, optimizer: th.optim.Optimizer) -> ModelWatch:
    return ModelWatch(lambda: LiveModel.of_modules({"net": net}, {"optimizer": optimizer}))


def found(watch: ModelWatch, steps: int) -> list[Finding]:
    return list(watch.check(steps).findings)


def test_a_relu_that_never_fires_is_proven_by_its_consumers_gradients() -> None:
    net = network()
    optimizer = th.optim.Adam(net.parameters(), 1e-2)
    watched = watch(net, optimizer)
    trained(net, optimizer)
    assert found(watched, 30) == []
    with th.no_grad():
        net[2].bias.fill_(-50.0)
    trained(net, optimizer)
    # The first check sees a gradient of 0, but its interval may have begun with others.
    first = found(watched, 60)
    trained(net, optimizer)
    # What was written to the bias from outside is a finding of its own.
    (second,) = [f for f in (*first, *found(watched, 90)) if f.name != "reset-after-training"]
    assert (second.rule, second.name) == ("SD204", "zero-gradient")
    assert set(second.tensors) == {f"net.{n}.{part}" for n in (0, 2) for part in ("weight", "bias")}
    assert "all that net.2 passes on is 0" in second.evidence and "never fires" in second.evidence
    trained(net, optimizer)
    assert found(watched, 120) == []  # said once


def test_a_detached_layer_has_no_gradient() -> None:
    net = network()
    optimizer = th.optim.Adam(net.parameters(), 1e-2)
    watched = watch(net, optimizer)
    trained(net, optimizer)

    def cut(inputs: th.Tensor) -> th.Tensor:
        return net[2:](net[:2](inputs).detach())  # type: ignore[no-any-return]

    trained(net, optimizer, forward=cut)
    first = found(watched, 60)
    trained(net, optimizer, forward=cut)
    (finding,) = [*first, *found(watched, 90)]
    assert (finding.rule, finding.tensors) == ("SD203", ("net.0.weight", "net.0.bias"))


def test_one_gradient_between_two_checks_is_enough() -> None:
    net = network()
    optimizer = th.optim.Adam(net.parameters(), 1e-2)
    watched = watch(net, optimizer)

    def without_first(inputs: th.Tensor) -> th.Tensor:
        return net[2:](0.0 * net[:2](inputs))  # type: ignore[no-any-return]

    for steps in range(100, 600, 100):
        trained(net, optimizer, 1)
        trained(net, optimizer, 50, forward=without_first)
        assert found(watched, steps) == []


def test_a_layer_made_later_and_left_out_is_named_at_the_next_check() -> None:
    net = network()
    optimizer = th.optim.Adam(net.parameters(), 1e-2)
    watched = watch(net, optimizer)
    trained(net, optimizer)
    net.append(nn.Linear(1, 1))
    trained(net, optimizer)
    (finding,) = found(watched, 60)
    assert (finding.name, finding.tensors) == ("not-in-optimizer", ("net.5.weight", "net.5.bias"))
    assert found(watched, 61) == []


def test_a_zero_weight_is_named_as_scan_names_it() -> None:
    net = network()
    optimizer = th.optim.Adam(net.parameters(), 0.0)
    watched = watch(net, optimizer)
    with th.no_grad():
        net[4].weight.zero_()
    trained(net, optimizer)
    assert ("SD103", ("net.4.weight",)) in [(f.rule, f.tensors) for f in found(watched, 30)]


def test_sgd_has_no_moments_and_needs_two_checks() -> None:
    net = network()
    optimizer = th.optim.SGD(net.parameters(), 1e-2)
    watched = watch(net, optimizer)
    trained(net, optimizer)
    with th.no_grad():
        net[0].bias.fill_(-50.0)
    named = []
    for steps in (60, 90):
        trained(net, optimizer)
        named += found(watched, steps)
    assert "zero-gradient" in [finding.name for finding in named]
