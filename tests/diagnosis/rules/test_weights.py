"""SD103, SD104 and SD302: weights that are zero, units that are, and values too large."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th
from torch import nn

from sacdoctor import Finding
from tests.diagnosis.handmade import PPO, finding, report

BIAS = th.full((8,), 0.5)


def found(
    folder: Path, code: str, settings: dict[str, int] | None = None, **policy: th.Tensor
) -> Finding | None:
    state = {name.replace("__", "."): tensor for name, tensor in policy.items()}
    return finding(report(folder, state, settings), code)


def weight(zeros: int, rows: int = 8, columns: int = 10) -> th.Tensor:
    made = th.ones(rows * columns)
    made[made.numel() - zeros :] = 0.0
    return made.view(rows, columns)


# -- SD103 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zeros", "severity"),
    [(0, None), (40, None), (41, "warning"), (79, "warning"), (80, "critical")],
)
def test_weight_is_dead_where_most_of_it_is_zero(
    tmp_path: Path, zeros: int, severity: str | None
) -> None:
    one = found(tmp_path, "SD103", net__weight=weight(zeros), net__bias=BIAS)
    assert (one and one.severity) == severity
    if one:
        assert one.tensors == ("net.weight",)


def test_dead_and_mostly_dead_weights_are_two_findings(tmp_path: Path) -> None:
    policy = {"a.weight": weight(80), "b.weight": weight(60), "c.weight": weight(10)}
    both = [f for f in report(tmp_path, policy).findings if f.rule == "SD103"]
    assert [(f.severity, f.tensors) for f in both] == [
        ("critical", ("a.weight",)),
        ("warning", ("b.weight",)),
    ]
    assert "b.weight 75 %" in both[1].evidence


@pytest.mark.parametrize("code", ["SD103", "SD104"])
def test_weights_of_untrained_models_are_not_looked_at(tmp_path: Path, code: str) -> None:
    tensors = {"net__weight": weight(60), "net__bias": th.zeros(8)}
    assert found(tmp_path, code, {"_n_updates": 0}, **tensors) is None
    assert found(tmp_path, code, {"_n_updates": 1}, **tensors) is not None


def test_second_name_of_a_dead_weight_is_not_counted(tmp_path: Path) -> None:
    dead = weight(80)
    one = found(tmp_path, "SD103", net__weight=dead, again__weight=dead)
    assert one is not None
    assert one.tensors == ("net.weight",)


# -- SD104 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dead_rows", "zero_biases", "units"),
    [(0, 8, 0), (1, 0, 0), (1, 8, 1), (3, 8, 3), (3, 6, 1), (7, 8, 7)],
)
def test_unit_is_dead_where_row_and_bias_are_zero(
    tmp_path: Path, dead_rows: int, zero_biases: int, units: int
) -> None:
    """Rows die from the last one on, biases from the first one on."""
    bias = BIAS.clone()
    bias[:zero_biases] = 0.0
    one = found(tmp_path, "SD104", net__weight=weight(10 * dead_rows), net__bias=bias)
    if not units:
        assert one is None
        return
    assert one is not None
    assert (one.severity, one.tensors) == ("warning", ("net.weight",))
    assert one.evidence == f"net.weight {units} of 8"


def test_zeros_that_are_scattered_make_no_dead_unit(tmp_path: Path) -> None:
    scattered = th.ones(8, 10)
    scattered[:, :5] = 0.0
    assert found(tmp_path, "SD104", net__weight=scattered, net__bias=th.zeros(8)) is None


def test_unit_without_a_bias_is_dead_with_its_row(tmp_path: Path) -> None:
    one = found(tmp_path, "SD104", net__weight=weight(20))
    assert one is not None
    assert one.message == "2 units are dead: nothing comes in"


def test_filters_of_a_convolution_are_units(tmp_path: Path) -> None:
    conv = nn.Conv2d(2, 4, 3)
    with th.no_grad():
        conv.weight[1] = 0.0
        conv.bias[1] = 0.0
    one = found(tmp_path, "SD104", **{f"net__{n}": t for n, t in conv.state_dict().items()})
    assert one is not None
    assert one.evidence == "net.weight 1 of 4"
    assert one.message == "1 unit is dead: nothing comes in"


@pytest.mark.parametrize("module", [nn.LSTM(3, 4), nn.GRU(3, 4), nn.LayerNorm(4)], ids=str)
def test_rows_of_other_layers_are_no_units(tmp_path: Path, module: nn.Module) -> None:
    state = {f"net__{n}": t.clone() for n, t in module.state_dict().items()}
    for tensor in state.values():
        tensor[:2] = 0.0
    assert found(tmp_path, "SD104", **state) is None


def test_whole_layer_of_zeros_is_left_to_sd103(tmp_path: Path) -> None:
    assert found(tmp_path, "SD104", net__weight=weight(80), net__bias=th.zeros(8)) is None


# -- SD302 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        (31.0, None),
        (100.0, None),
        (100.1, "warning"),
        (-100.1, "warning"),
        (1000.0, "warning"),
        (1000.1, "critical"),
        (-3e38, "critical"),
    ],
)
@pytest.mark.parametrize("name", ["net__weight", "net__bias"])
def test_largest_absolute_value_decides(
    tmp_path: Path, name: str, value: float, severity: str | None
) -> None:
    tensors = {"net__weight": weight(0), "net__bias": BIAS.clone()}
    tensors[name].view(-1)[-1] = value
    one = found(tmp_path, "SD302", **tensors)
    assert (one and one.severity) == severity


def test_many_moderate_weights_have_a_large_norm_and_are_in_order(tmp_path: Path) -> None:
    large = th.full((200, 200), 9.0)
    assert float(large.norm()) > 1000
    assert found(tmp_path, "SD302", net__weight=large) is None


def test_exploded_tensors_are_named_the_largest_first(tmp_path: Path) -> None:
    policy = {name: th.full((2, 2), v) for name, v in {"a": 150.0, "b": 25_000.0, "c": 1.0}.items()}
    one = found(tmp_path, "SD302", **{f"{name}__weight": t for name, t in policy.items()})
    assert one is not None
    assert one.tensors == ("b.weight", "a.weight")
    assert one.evidence == "b.weight up to 2.5e+04, a.weight up to 150"
    assert one.severity == "critical"


def test_infinity_beside_a_large_value_does_not_hide_it(tmp_path: Path) -> None:
    one = found(tmp_path, "SD302", net__weight=th.tensor([[float("inf"), 500.0]]))
    assert one is not None
    assert one.severity == "warning"


def test_buffers_may_be_as_large_as_they_like(tmp_path: Path) -> None:
    assert found(tmp_path, "SD302", norm__running_var=th.full((4,), 1e9)) is None


@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16, th.float64], ids=str)
def test_other_precisions_are_measured_too(tmp_path: Path, dtype: th.dtype) -> None:
    exploded = th.full((2, 2), 2048.0, dtype=dtype)
    one = finding(report(tmp_path, {"net.weight": exploded}, PPO), "SD302")
    assert one is not None
    assert one.evidence == "net.weight up to 2.05e+03"
