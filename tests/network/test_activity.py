"""What hooks count is what torch code written by hand finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sacdoctor
from sacdoctor.diagnosis import LayerActivity
from tests.agents import OBSERVATIONS, train

torch.manual_seed(0)
N = 3000
"""Observations: more than one batch, and no whole number of them."""


def by_hand(
    outputs: torch.Tensor, *, limit: float | None = None, has_rank: bool = True
) -> dict[str, Any]:
    """The figures of a layer from all of its outputs, shape (rows, units)."""
    outputs = outputs.double()
    means = outputs.abs().mean(dim=0)
    at_limit = (outputs.abs() >= 0.99).double().mean(dim=0)
    singular = torch.linalg.svdvals(outputs)
    shares = singular.cumsum(0) / singular.sum()
    return {
        "units": outputs.shape[1],
        "dead": int((outputs == 0).all(dim=0).sum()),
        "dormant": int((means <= 0.025 * means.mean()).sum()),
        "saturated": None if limit is None else int((at_limit >= 0.99).sum()),
        "rank": int(torch.nonzero(shares >= 0.99)[0]) + 1 if has_rank else None,
    }


def assert_same(layer: LayerActivity, expected: Mapping[str, Any]) -> None:
    assert {key: getattr(layer, key) for key in expected} == expected


def test_an_mlp_is_counted_as_by_hand() -> None:
    first, second, last = nn.Linear(6, 40), nn.Linear(40, 30), nn.Linear(30, 2)
    with torch.no_grad():
        first.bias[:7] = -50.0  # dead
        second.weight *= 30.0
    net = nn.Sequential(first, nn.ReLU(), second, nn.Tanh(), last)
    x = torch.randn(N, 6)
    with torch.no_grad():
        a = torch.relu(first(x))
        b = torch.tanh(second(a))
        c = last(b)
    found = sacdoctor.activity_of(net, x.numpy(), name="critic")
    assert found.name == "critic"
    assert [(one.name, one.activation) for one in found.layers] == [
        ("0", "ReLU"),
        ("2", "Tanh"),
        ("4", None),
    ]
    for layer, outputs, limit in zip(found.layers, (a, b, c), (None, 1.0, None), strict=True):
        assert_same(layer, by_hand(outputs, limit=limit))
    assert found.layers[0].dead == 7


def test_a_unit_of_a_convolution_is_a_channel_at_all_places() -> None:
    first, second = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 5)
    with torch.no_grad():
        first.bias[2] = -50.0
    net = nn.Sequential(first, nn.ReLU(), nn.Flatten(), second)
    x = torch.rand(600, 3, 8, 8)
    with torch.no_grad():
        a = torch.relu(first(x))
    convolution, linear = sacdoctor.activity_of(net, x).layers
    channels = a.permute(0, 2, 3, 1).reshape(-1, 8)
    assert_same(convolution, by_hand(channels, has_rank=False))
    assert convolution.dead >= 1
    assert linear.units == 5


def test_an_activation_behind_a_norm_and_a_dropout_is_that_of_the_layer() -> None:
    net = nn.Sequential(nn.Linear(4, 9), nn.LayerNorm(9), nn.Dropout(0.5), nn.Sigmoid())
    (layer,) = sacdoctor.activity_of(net, torch.randn(50, 4)).layers
    assert (layer.name, layer.activation, layer.units) == ("0", "Sigmoid", 9)


def test_one_activation_module_may_stand_behind_many_layers() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 9), relu, nn.Linear(9, 8), relu)
    layers = sacdoctor.activity_of(net, torch.randn(50, 4)).layers
    assert [(one.name, one.activation, one.units) for one in layers] == [
        ("0", "ReLU", 9),
        ("2", "ReLU", 8),
    ]


@pytest.mark.parametrize(("size", "dead"), [(1.0, 0), (0.0, 3)])
def test_units_that_put_out_nothing_but_zero_are_dead(size: float, dead: int) -> None:
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight *= size
        layer.bias *= size
    assert sacdoctor.activity_of(layer, torch.randn(9, 2)).layers[0].dead == dead


def test_units_are_stuck_where_tanh_has_no_gradient_in_float32() -> None:
    layer = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1000.0], [4.0]])
    x = torch.cat((torch.full((40, 1), 1.0), torch.full((40, 1), -1.0)))
    (found,) = sacdoctor.activity_of(nn.Sequential(layer, nn.Tanh()), x).layers
    assert (found.saturated, found.stuck) == (2, 1)
    inputs = x.clone().requires_grad_()
    gradient = torch.autograd.grad(torch.tanh(layer(inputs)[:, 0]).sum(), inputs)[0]
    assert not gradient.any()


def test_a_critic_is_given_observations_and_actions() -> None:
    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = nn.Sequential(nn.Linear(5, 7), nn.ELU(), nn.Linear(7, 1))

        def forward(self, observed: dict[str, torch.Tensor], action: torch.Tensor) -> torch.Tensor:
            joined = torch.cat((observed["speed"], action), dim=1)
            return torch.as_tensor(self.q(joined))

    found = sacdoctor.activity_of(
        Critic(), {"speed": np.ones((8, 3), np.float32)}, np.ones((8, 2), np.float32)
    )
    assert [one.name for one in found.layers] == ["q.0", "q.2"]


def test_a_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sacdoctor.activity_of(net, torch.randn(20, 2))
    assert net.training
    assert not any(part._forward_hooks for part in net.modules())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("inputs", [(), (torch.zeros(0, 2),), (torch.ones(3, 2), torch.ones(4, 2))])
def test_observations_have_to_be_there(inputs: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(ValueError, match="one number of observations"):
        sacdoctor.activity_of(nn.Linear(2, 3), *inputs)


# -- SB3's policies ----------------------------------------------------------------------------


def probed(model: Any, folder: Path, observations: Any) -> dict[str, Any]:
    """The networks of a saved model at work on observations, by their names."""
    model.save(folder / "model.zip")
    if isinstance(observations, dict):
        file = folder / "seen.npz"
        np.savez(file, **{f"observations.{key}": array for key, array in observations.items()})
    else:
        file = folder / "seen.npy"
        np.save(file, observations)
    report = sacdoctor.probe(folder / "model.zip", observations=file, count=N)
    return {network.name: network for network in report.networks}


def sampled(kind: str, count: int) -> Any:
    space = OBSERVATIONS[kind]
    space.seed(3)
    rows = [space.sample() for _ in range(count)]
    if isinstance(rows[0], dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


@pytest.mark.slow
def test_an_mlp_policy_is_counted_as_by_hand(tmp_path: Path) -> None:
    model = train("PPO", "MlpPolicy")
    x = sampled("Mlp", 700)
    networks = probed(model, tmp_path, x)
    policy = model.policy
    with torch.no_grad():
        latent = torch.tanh(policy.mlp_extractor.policy_net[0](torch.as_tensor(x)))
        mean = policy.action_net(latent)
        value = policy.value_net(torch.tanh(policy.mlp_extractor.value_net[0](torch.as_tensor(x))))
    hidden, out = networks["actor"].layers
    assert_same(hidden, by_hand(latent, limit=1.0))
    assert_same(out, by_hand(mean))
    actions, values = networks["actor"].actions, networks["value"].values
    np.testing.assert_allclose(actions.spread, mean.numpy().std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(actions.deviation, policy.log_std.exp().mean().item(), rtol=1e-6)
    found = (values.low, values.high, values.mean)
    expected = (value.min().item(), value.max().item(), value.mean().item())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_cnn_policy_is_counted_as_by_hand(tmp_path: Path) -> None:
    model = train("PPO", "CnnPolicy")
    x = sampled("Cnn", 60)
    layers = probed(model, tmp_path, x)["actor"].layers
    cnn = model.policy.features_extractor.cnn
    with torch.no_grad():
        outputs = torch.as_tensor(x).float() / 255.0
        for layer, index in zip(layers[:3], (0, 2, 4), strict=True):
            outputs = torch.relu(cnn[index](outputs))
            channels = outputs.movedim(1, -1).flatten(end_dim=2)
            assert layer.name == f"features_extractor.cnn.{index}"
            assert_same(layer, by_hand(channels, has_rank=False))
        features = torch.relu(model.policy.features_extractor.linear[0](outputs.flatten(1)))
        assert_same(layers[3], by_hand(features))


@pytest.mark.slow
def test_a_dict_policy_is_counted_as_by_hand(tmp_path: Path) -> None:
    model = train("SAC", "MultiInputPolicy")
    seen = sampled("MultiInput", 70)
    networks = probed(model, tmp_path, seen)
    given = {key: torch.as_tensor(value) for key, value in seen.items()}
    actor = model.policy.actor
    with torch.no_grad():
        features = actor.extract_features(given, actor.features_extractor)
        latent = torch.relu(actor.latent_pi[0](features))
        action = torch.tanh(actor.mu(latent))
    layers = {layer.name: layer for layer in networks["actor"].layers}
    assert_same(layers["actor.latent_pi.0"], by_hand(latent))
    np.testing.assert_allclose(
        networks["actor"].actions.spread, action.numpy().std(axis=0), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_an_lstm_policy_steps_through_an_episode_with_its_states(tmp_path: Path) -> None:
    model = train("RecurrentPPO", "MlpLstmPolicy")
    x = torch.as_tensor(sampled("Mlp", 1300))  # over the end of a batch
    networks = probed(model, tmp_path, x.numpy())
    policy = model.policy
    for network, lstm, head in (
        ("actor", policy.lstm_actor, policy.mlp_extractor.policy_net),
        ("value", policy.lstm_critic, policy.mlp_extractor.value_net),
    ):
        state = (torch.zeros(1, 8), torch.zeros(1, 8))
        outputs = []
        with torch.no_grad():
            for row in x:  # one step after the other
                out, state = lstm(row.reshape(1, -1), state)
                outputs.append(out)
            latent = torch.cat(outputs)
            hidden = torch.tanh(head[0](latent))
        layers = networks[network].layers
        assert [layer.units for layer in layers[:2]] == [8, 8]
        assert_same(layers[0], by_hand(latent, limit=1.0))
        assert_same(layers[1], by_hand(hidden, limit=1.0))
    with torch.no_grad():
        value = policy.value_net(hidden)
    assert networks["value"].values.mean == pytest.approx(float(value.mean()), rel=1e-5)


@pytest.mark.parametrize("name", ["two_head", "sac_two_head"])
def test_the_reference_policies_are_counted_as_by_hand(
    name: str, broken: Path, tmp_path: Path
) -> None:
    """Their modules' outputs, kept whole by hooks of one's own."""
    path = broken.with_name("two_head_broken.zip" if name == "two_head" else "sac_two_head.zip")
    model = sacdoctor.load(path, trust=["fixtures.policies"])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(130, *model.observation_space.shape)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    report = sacdoctor.probe(
        path, observations=tmp_path / "x.npy", trust=["fixtures.policies"], count=N
    )
    actor = report.networks[0]
    parts = dict(model.policy.named_modules())
    kept: dict[str, list[torch.Tensor]] = {}

    def keep(layer: str) -> Any:
        def hook(_part: Any, _inputs: Any, output: Any) -> None:
            rows = output[0] if isinstance(output, tuple) else output
            kept.setdefault(layer, []).append(rows.reshape(-1, rows.shape[-1]))

        return hook

    for layer in actor.layers:
        module, activation = parts[layer.name], None
        if layer.activation is not None and not isinstance(module, (nn.LSTM, nn.GRU)):
            stem, _, number = layer.name.rpartition(".")
            behind = (parts.get(f"{stem}.{int(number) + i}") for i in range(1, 4))
            activation = next(a for a in behind if type(a).__name__ == layer.activation)
        (activation or module).register_forward_hook(keep(layer.name))
    given = torch.as_tensor(x)
    with torch.no_grad():
        if name == "two_head":
            state = (torch.zeros(1, 1, model.policy.lstm_actor.hidden_size),) * 2
            model.policy.get_distribution(given, state, torch.zeros(len(x)))
        else:
            model.policy.actor(given)
    assert len(actor.layers) > 5
    for layer in actor.layers:
        outputs = torch.cat(kept[layer.name])
        assert_same(layer, {**by_hand(outputs), "saturated": layer.saturated})
