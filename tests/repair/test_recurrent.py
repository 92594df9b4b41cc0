"""Recurrent layers by gate: in PyTorch's own modules, every layer, direction, cell and projection.

PyTorch stacks an LSTM's gates as input, forget, cell, output and adds `bias_ih` and `bias_hh`
(docs of torch.nn.LSTM): the forget gate starts at 1.0 if one of the two holds the 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th
from sb3_contrib import RecurrentPPO
from torch import nn

from sacdoctor.repair import RepairOptions, fix
from tests.archives import saved, write_sb3
from tests.repair import truth
from tests.repair.conftest import Patients
from tests.torch_truth import state_dict

HIDDEN = 6
MODULES: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: nn.LSTM(5, HIDDEN),
    "lstm-stacked-both-ways": lambda: nn.LSTM(5, HIDDEN, num_layers=2, bidirectional=True),
    "lstm-projected": lambda: nn.LSTM(5, HIDDEN, proj_size=2, num_layers=2, bidirectional=True),
    "lstm-projected-to-look-like-a-gru": lambda: nn.LSTM(5, HIDDEN, proj_size=HIDDEN * 4 // 3 - 4),
    "lstm-of-one-unit": lambda: nn.LSTM(5, 1),
    "lstm-cell": lambda: nn.LSTMCell(5, HIDDEN),
    "gru": lambda: nn.GRU(5, HIDDEN),
    "gru-stacked-both-ways": lambda: nn.GRU(5, HIDDEN, num_layers=2, bidirectional=True),
    "gru-cell": lambda: nn.GRUCell(5, HIDDEN),
    "gru-whose-bias-splits-in-four": lambda: nn.GRU(5, 8),
    "rnn": lambda: nn.RNN(5, HIDDEN, num_layers=2, bidirectional=True),
    "rnn-cell": lambda: nn.RNNCell(5, HIDDEN),
    "rnn-whose-bias-splits-in-four": lambda: nn.RNN(5, 8),
}
DTYPES = [th.float16, th.bfloat16, th.float32, th.float64]

each_module = pytest.mark.parametrize("kind", MODULES)


def module(kind: str, dtype: th.dtype = th.float32) -> nn.Module:
    th.manual_seed(0)
    return MODULES[kind]().to(dtype)


def with_zeroed_biases(made: nn.Module) -> dict[str, th.Tensor]:
    """Its state dict as part of a policy; all biases zero."""
    with th.no_grad():
        for name, parameter in made.named_parameters():
            if "bias" in name:
                parameter.zero_()
    return {f"memory.{name}": tensor for name, tensor in made.state_dict().items()}


def repaired(folder: Path, state: dict[str, th.Tensor], bare: bool = False) -> dict[str, th.Tensor]:
    if bare:
        (folder / "m.pth").write_bytes(saved(state))
        fix(folder / "m.pth")
        return dict(truth.load((folder / "m_FIXED.pth").read_bytes()))
    fix(write_sb3(folder / "m.zip", state))
    return state_dict(folder / "m_FIXED.zip")


def assert_starts_well(made: nn.Module, name: str, bias: th.Tensor) -> None:
    """The table of the design, worked out for one bias of a real module."""
    drawn = th.ones(len(bias), dtype=th.bool)
    if isinstance(made, nn.LSTM | nn.LSTMCell) and ".bias_ih" in name:
        hidden = made.hidden_size
        assert bool((bias[hidden : 2 * hidden] == 1.0).all()), name
        drawn[hidden : 2 * hidden] = False
    values = bias[drawn].double()
    assert bool((values != 0).all()), name
    assert float(values.abs().max()) <= 0.01, name


@each_module
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gates_of_a_dead_layer(tmp_path: Path, kind: str, dtype: th.dtype) -> None:
    made = module(kind, dtype)
    state = with_zeroed_biases(made)
    after = repaired(tmp_path, state)
    biases = [name for name in state if "bias" in name]
    assert biases
    for name in biases:
        assert after[name].dtype == dtype
        assert_starts_well(made, name, after[name])
    truth.assert_only_zeros_changed(state, after)


@each_module
def test_gates_in_a_bare_state_dict(tmp_path: Path, kind: str) -> None:
    made = module(kind)
    state = with_zeroed_biases(made)
    after = repaired(tmp_path, state, bare=True)
    for name in state:
        if "bias" in name:
            assert_starts_well(made, name, after[name])
    truth.assert_only_zeros_changed(state, after)


@each_module
def test_the_repaired_module_runs_and_its_draws_are_all_different(
    tmp_path: Path, kind: str
) -> None:
    made = module(kind)
    after = repaired(tmp_path, with_zeroed_biases(made))
    made.load_state_dict({name.removeprefix("memory."): t for name, t in after.items()})
    inputs = th.randn(2, 5) if kind.endswith("cell") else th.randn(3, 2, 5)
    output = made(inputs)
    while isinstance(output, tuple):
        output = output[0]
    assert bool(output.isfinite().all())
    drawn = th.cat([t for n, t in after.items() if "bias" in n])
    drawn = drawn[drawn != 1.0]
    assert len(drawn.unique()) == len(drawn)


def test_the_forget_gate_opens_by_one_not_two(tmp_path: Path) -> None:
    """What counts is the sum that PyTorch forms: with zero weights the gate is sigmoid(1)."""
    made = nn.LSTM(5, HIDDEN)
    after = repaired(tmp_path, with_zeroed_biases(made))
    forget = slice(HIDDEN, 2 * HIDDEN)
    total = after["memory.bias_ih_l0"][forget] + after["memory.bias_hh_l0"][forget]
    assert bool(((total - 1.0).abs() <= 0.01).all())


@pytest.mark.parametrize("alive", ["input", "forget", "cell", "output"])
def test_a_living_gate_keeps_its_values(tmp_path: Path, alive: str) -> None:
    made = nn.LSTM(5, HIDDEN)
    state = with_zeroed_biases(made)
    at = ["input", "forget", "cell", "output"].index(alive) * HIDDEN
    trained = th.linspace(-2.0, 2.0, HIDDEN)
    state["memory.bias_ih_l0"][at : at + HIDDEN] = trained
    after = repaired(tmp_path, state)["memory.bias_ih_l0"]
    assert truth.same(after[at : at + HIDDEN], trained)
    if alive != "forget":
        assert bool((after[HIDDEN : 2 * HIDDEN] == 1.0).all())
    rest = th.cat([after[:HIDDEN], after[2 * HIDDEN :]])
    rest = rest[(rest.abs() <= 0.01) & (rest != 0)]
    assert len(rest) == (3 if alive == "forget" else 2) * HIDDEN


def test_a_dead_forget_gate_alone_goes_to_one(tmp_path: Path) -> None:
    made = nn.LSTM(5, HIDDEN)
    state = {f"memory.{n}": t.clone() for n, t in made.state_dict().items()}
    state["memory.bias_ih_l0"][HIDDEN : 2 * HIDDEN] = 0.0
    after = repaired(tmp_path, state)
    expected = state["memory.bias_ih_l0"].clone()
    expected[HIDDEN : 2 * HIDDEN] = 1.0
    assert th.equal(after["memory.bias_ih_l0"], expected)
    assert truth.same(after["memory.bias_hh_l0"], state["memory.bias_hh_l0"])


def test_single_dead_units_in_a_forget_gate(tmp_path: Path) -> None:
    made = nn.LSTM(5, HIDDEN)
    state = {f"memory.{n}": t.clone() for n, t in made.state_dict().items()}
    dead = [0, HIDDEN, HIDDEN + 2, 4 * HIDDEN - 1]
    state["memory.bias_ih_l0"][dead] = 0.0
    after = repaired(tmp_path, state)["memory.bias_ih_l0"]
    assert after[[HIDDEN, HIDDEN + 2]].tolist() == [1.0, 1.0]
    assert bool((after[[0, -1]].abs() <= 0.01).all())
    assert bool(after[[0, -1]].all())


def test_lstm_without_biases_is_left_alone(tmp_path: Path) -> None:
    state = {f"memory.{n}": t for n, t in nn.LSTM(5, HIDDEN, bias=False).state_dict().items()}
    assert fix(write_sb3(tmp_path / "m.zip", state)).plan.is_empty


def test_memory_of_a_recurrent_policy_starts_well_and_trains_on(
    patients: Patients, tmp_path: Path
) -> None:
    source, output = patients.hurt("RecurrentPPO", "lstm*bias*"), tmp_path / "out.zip"
    fix(source, output=output, options=RepairOptions(seed=3))
    env = patients.model("RecurrentPPO").get_env()
    model = RecurrentPPO.load(output, env=env, device="cpu")
    for lstm in (model.policy.lstm_actor, model.policy.lstm_critic):
        for name, bias in lstm.named_parameters(prefix="."):
            if "bias" in name:
                assert_starts_well(lstm, name, bias.detach())
    model.learn(256, reset_num_timesteps=False)
    assert all(bool(p.isfinite().all()) for p in model.policy.parameters())
