"""Which rows of a bias belong to which gate: proven with PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch as th
from torch import nn

from sacdoctor.layers import Kind, gate_slices
from tests.layers.modules import roles_of

HIDDEN = 4


def lstm_step(cell: nn.LSTMCell, x: th.Tensor, h: th.Tensor, c: th.Tensor) -> th.Tensor:
    """The cell's new hidden state, from the equations in PyTorch's documentation, by gate name."""
    total = x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
    gate = {name: total[:, rows] for name, rows in gate_slices(Kind.LSTM, 4 * HIDDEN).items()}
    keep, take = th.sigmoid(gate["forget"]), th.sigmoid(gate["input"])
    state = keep * c + take * th.tanh(gate["cell"])
    return th.sigmoid(gate["output"]) * th.tanh(state)


def gru_step(cell: nn.GRUCell, x: th.Tensor, h: th.Tensor) -> th.Tensor:
    """As `lstm_step`."""
    rows = gate_slices(Kind.GRU, 3 * HIDDEN)
    of_x, of_h = x @ cell.weight_ih.T + cell.bias_ih, h @ cell.weight_hh.T + cell.bias_hh
    part = {name: (of_x[:, rows[name]], of_h[:, rows[name]]) for name in rows}
    reset, update = (th.sigmoid(sum(part[name])) for name in ("reset", "update"))
    new = th.tanh(part["new"][0] + reset * part["new"][1])
    return (1 - update) * new + update * h


def test_lstm_gates_compute_what_pytorch_computes() -> None:
    th.manual_seed(0)
    cell = nn.LSTMCell(3, HIDDEN)
    x, h, c = th.randn(5, 3), th.randn(5, HIDDEN), th.randn(5, HIDDEN)
    th.testing.assert_close(lstm_step(cell, x, h, c), cell(x, (h, c))[0])


def test_gru_gates_compute_what_pytorch_computes() -> None:
    th.manual_seed(0)
    cell = nn.GRUCell(3, HIDDEN)
    x, h = th.randn(5, 3), th.randn(5, HIDDEN)
    th.testing.assert_close(gru_step(cell, x, h), cell(x, h))


def test_a_closed_forget_gate_forgets() -> None:
    """With the rows called `forget` at minus infinity, the old cell state has no effect."""
    cell = nn.LSTMCell(3, HIDDEN)
    with th.no_grad():
        cell.bias_ih[gate_slices(Kind.LSTM, 4 * HIDDEN)["forget"]] = -1e9
    x, h = th.randn(1, 3), th.randn(1, HIDDEN)
    th.testing.assert_close(
        cell(x, (h, th.zeros(1, HIDDEN)))[1], cell(x, (h, 9 * th.ones(1, HIDDEN)))[1]
    )


def test_an_open_update_gate_keeps_the_state() -> None:
    cell = nn.GRUCell(3, HIDDEN)
    with th.no_grad():
        cell.bias_ih[gate_slices(Kind.GRU, 3 * HIDDEN)["update"]] = 1e9
    h = th.randn(1, HIDDEN)
    th.testing.assert_close(cell(th.randn(1, 3), h), h)


@pytest.mark.parametrize(
    ("module", "gates"),
    [
        (nn.LSTM(3, 4), ["input", "forget", "cell", "output"]),
        (nn.LSTM(3, 4, num_layers=2, bidirectional=True), ["input", "forget", "cell", "output"]),
        (nn.LSTMCell(3, 4), ["input", "forget", "cell", "output"]),
        (nn.LSTM(3, 6, proj_size=2), ["input", "forget", "cell", "output"]),
        (nn.GRU(3, 4), ["reset", "update", "new"]),
        (nn.GRUCell(3, 4), ["reset", "update", "new"]),
        (nn.RNN(3, 4), []),
        (nn.Linear(3, 12), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gates_of_every_tensor_divide_its_rows(module: nn.Module, gates: list[str]) -> None:
    tensors = module.state_dict()
    for name, role in roles_of(module).items():
        if "weight_hr" in name:  # the projection has no gates
            assert role.gates == {}
            continue
        assert list(role.gates) == gates
        rows = len(tensors[name.removeprefix("layer.")])
        covered = [row for rows_of in role.gates.values() for row in range(rows)[rows_of]]
        assert covered == (list(range(rows)) if gates else [])


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7])
def test_rows_that_do_not_divide_have_no_gates(rows: int) -> None:
    assert gate_slices(Kind.LSTM, rows) == {}
