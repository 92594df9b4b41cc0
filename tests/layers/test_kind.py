"""The kind of every layer that PyTorch has, told without its class."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch as th
from sb3_contrib.common.torch_layers import BatchRenorm1d
from torch import nn

from tests.layers.modules import kinds_of, roles_of


def old_weight_norm(module: nn.Module, name: str = "weight") -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(module, name)


MODULES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "LSTM": (lambda: nn.LSTM(5, 4), "LSTM"),
    "LSTM-two-layers": (lambda: nn.LSTM(5, 4, num_layers=2), "LSTM"),
    "LSTM-bidirectional": (lambda: nn.LSTM(5, 4, bidirectional=True), "LSTM"),
    "LSTM-projected": (lambda: nn.LSTM(5, 4, proj_size=2), "LSTM"),
    # With a projection to a third or all of it, rows over columns look like another kind.
    "LSTM-projected-like-a-GRU": (lambda: nn.LSTM(5, 6, num_layers=2, proj_size=3), "LSTM"),
    "LSTM-without-bias": (lambda: nn.LSTM(5, 4, bias=False), "LSTM"),
    "LSTM-of-one": (lambda: nn.LSTM(1, 1), "LSTM"),
    "LSTMCell": (lambda: nn.LSTMCell(5, 4), "LSTM"),
    "GRU": (lambda: nn.GRU(5, 4), "GRU"),
    "GRU-two-layers": (lambda: nn.GRU(5, 4, num_layers=2, bidirectional=True), "GRU"),
    # Twelve rows: three gates of four, not four of three.
    "GRU-of-twelve-rows": (lambda: nn.GRU(3, 4), "GRU"),
    "LSTM-of-twelve-rows": (lambda: nn.LSTM(4, 3), "LSTM"),
    "GRUCell": (lambda: nn.GRUCell(5, 4), "GRU"),
    "RNN": (lambda: nn.RNN(5, 4), "RNN"),
    "RNN-two-layers": (lambda: nn.RNN(5, 4, num_layers=2), "RNN"),
    "RNNCell": (lambda: nn.RNNCell(5, 4), "RNN"),
    "Linear": (lambda: nn.Linear(5, 4), "Linear"),
    "Linear-square": (lambda: nn.Linear(4, 4), "Linear"),
    "Linear-one-by-one": (lambda: nn.Linear(1, 1), "Linear"),
    "Linear-without-bias": (lambda: nn.Linear(5, 4, bias=False), "Linear"),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 2), "Conv"),
    "Conv2d": (lambda: nn.Conv2d(3, 4, 2), "Conv"),
    "Conv3d": (lambda: nn.Conv3d(3, 4, 2), "Conv"),
    "Conv2d-without-bias": (lambda: nn.Conv2d(3, 4, 2, bias=False), "Conv"),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 4, 2), "Conv"),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(3, 4, 2), "Conv"),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(3, 4, 2), "Conv"),
    "LayerNorm": (lambda: nn.LayerNorm(4), "Norm"),
    "LayerNorm-of-one": (lambda: nn.LayerNorm(1), "Norm"),
    "LayerNorm-two-dimensions": (lambda: nn.LayerNorm([4, 3]), "Norm"),
    "LayerNorm-three-dimensions": (lambda: nn.LayerNorm([2, 4, 3]), "Norm"),
    "LayerNorm-without-bias": (lambda: nn.LayerNorm(4, bias=False), "Norm"),
    "RMSNorm": (lambda: nn.RMSNorm(4), "Norm"),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), "Norm"),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), "Norm"),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), "Norm"),
    "BatchNorm-without-weights": (lambda: nn.BatchNorm1d(4, affine=False), "Norm"),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(4, affine=True), "Norm"),
    "BatchRenorm": (lambda: BatchRenorm1d(4), "Norm"),
    "PReLU": (lambda: nn.PReLU(), "Other"),
    "weight-norm-linear": (lambda: old_weight_norm(nn.Linear(5, 4)), "Linear"),
    "weight-norm-conv": (lambda: old_weight_norm(nn.Conv2d(3, 4, 2)), "Conv"),
    "weight-norm-parametrized": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)),
        "Linear",
    ),
    "weight-norm-parametrized-conv": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(5, 4, 3)),
        "Conv",
    ),
    "spectral-norm-linear": (lambda: nn.utils.spectral_norm(nn.Linear(5, 4)), "Linear"),
    "spectral-norm-conv": (lambda: nn.utils.spectral_norm(nn.Conv2d(3, 4, 2)), "Conv"),
}


@pytest.mark.parametrize("case", MODULES)
def test_kind_of_a_module(case: str) -> None:
    make, kind = MODULES[case]
    assert kinds_of(make()) == {kind}


@pytest.mark.parametrize(
    "parametrize",
    [nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.orthogonal],
)
def test_kind_of_a_parametrized_layer(parametrize: Callable[[nn.Module], nn.Module]) -> None:
    found = roles_of(parametrize(nn.Linear(4, 4)))
    for name in ("layer.bias", "layer.parametrizations.weight.original"):
        assert (found[name].layer, found[name].kind.value) == ("layer", "Linear")


@pytest.mark.parametrize("case", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
def test_name_of_a_recurrent_layer_does_not_mislead(case: str) -> None:
    make, kind = MODULES[case]
    for name in ("gru", "lstm_actor", "rnn", "norm.embedding"):
        assert kinds_of(make(), name) == {kind}


@pytest.mark.parametrize(
    "options",
    [{}, {"add_bias_kv": True}, {"kdim": 6, "vdim": 2}, {"bias": False}],
    ids=["plain", "bias-kv", "own-widths", "without-bias"],
)
def test_attention(options: dict[str, object]) -> None:
    found = roles_of(nn.MultiheadAttention(4, 2, **options))  # type: ignore[arg-type]
    for name, role in found.items():
        assert role.kind.value == ("Linear" if ".out_proj." in name else "Attention"), name
    biases = {name for name, role in found.items() if role.role == "bias"}
    assert biases == {name for name in found if "bias" in name}


def test_parts_of_a_transformer_layer() -> None:
    found = roles_of(nn.TransformerEncoderLayer(4, 2, 8))
    kinds = {name.split(".")[1]: role.kind.value for name, role in found.items()}
    assert kinds == {
        "self_attn": "Linear",  # its last tensor is the output projection's
        "linear1": "Linear",
        "linear2": "Linear",
        "norm1": "Norm",
        "norm2": "Norm",
    }
    assert found["layer.self_attn.in_proj_bias"].kind.value == "Attention"


@pytest.mark.parametrize("name", ["embedding", "token_emb", "regime_embedding"])
def test_embedding_is_told_by_its_name(name: str) -> None:
    assert kinds_of(nn.Embedding(7, 4), name) == {"Embedding"}


def test_embedding_of_another_name_looks_like_a_linear_layer() -> None:
    assert kinds_of(nn.Embedding(7, 4), "table") == {"Linear"}


def test_linear_layer_named_embedding_is_linear() -> None:
    assert kinds_of(nn.Linear(7, 4), "embedding") == {"Linear"}


def test_loose_parameter_is_other() -> None:
    module = nn.Module()
    module.log_std = nn.Parameter(th.zeros(4))
    (role,) = roles_of(module).values()
    assert (role.kind.value, role.role) == ("Other", "parameter")


@pytest.mark.parametrize("shapes", [{"layer.weight_hh_l0": (5, 0)}, {"gru.bias_ih_l0": (9,)}])
def test_recurrent_tensors_alone_do_not_fail(shapes: dict[str, tuple[int, ...]]) -> None:
    from sacdoctor.layers import roles

    kinds = {role.kind.value for role in roles(shapes).values()}
    assert kinds == ({"GRU"} if "gru.bias_ih_l0" in shapes else {"Other"})


# -- roles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", MODULES)
def test_parameters_with_bias_in_their_name_are_the_biases(case: str) -> None:
    module = MODULES[case][0]()
    found = roles_of(module)
    for name, _ in module.named_parameters():
        role = found[f"layer.{name}"].role
        if name == "beta":  # BatchRenorm's word for it
            assert role == "bias"
        else:
            assert (role == "bias") == name.rpartition(".")[2].startswith("bias"), name
            assert role != "buffer"


@pytest.mark.parametrize(
    "make", [lambda: nn.BatchNorm1d(4), lambda: BatchRenorm1d(4)], ids=["BatchNorm", "BatchRenorm"]
)
def test_running_statistics_are_buffers(make: Callable[[], nn.Module]) -> None:
    module = make()
    found = roles_of(module)
    for name, _ in module.named_buffers():
        assert found[f"layer.{name}"].role == "buffer", name


def test_whole_numbers_are_buffers_whatever_their_name() -> None:
    module = nn.Module()
    module.register_buffer("bias", th.zeros(3, dtype=th.long))
    module.register_buffer("mask", th.zeros(3, dtype=th.bool))
    assert {role.role for role in roles_of(module).values()} == {"buffer"}


def test_a_parametrized_bias_belongs_to_its_layer() -> None:
    layer = nn.Linear(3, 4)
    nn.utils.parametrize.register_parametrization(layer, "bias", nn.Tanh())
    found = roles_of(layer)
    role = found["layer.parametrizations.bias.original"]
    assert (role.layer, role.role, role.kind.value) == ("layer", "bias", "Linear")


def test_tensors_without_a_layer_are_at_the_top() -> None:
    from sacdoctor.layers import roles

    found = roles({"weight": (3, 4), "bias": (3,)})
    assert {role.layer for role in found.values()} == {""}
    assert found["bias"].role == "bias"


@pytest.mark.parametrize(
    "normed", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm]
)
def test_spectral_norm_has_one_weight_and_two_buffers(normed: Callable[..., nn.Module]) -> None:
    """The roles are those that PyTorch gives them: parameters train, buffers do not."""
    module = nn.Sequential(normed(nn.Linear(4, 3)))
    found = roles_of(module)
    buffers = {f"layer.{name}" for name, _ in module.named_buffers()}
    parameters = {f"layer.{name}" for name, _ in module.named_parameters()}
    assert {name for name, role in found.items() if role.role == "buffer"} == buffers
    assert {name for name, role in found.items() if role.role in ("weight", "bias")} == parameters
    assert {role.layer for role in found.values()} == {"layer.0"}
