"""Every way in which the same tensors may stand in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sacdoctor import Checkpoint, Report, scan
from sacdoctor.errors import CorruptCheckpoint
from tests import torch_truth
from tests.archives import (
    DEFLATED,
    members_of,
    saved,
    sb3_members,
    tensor_pickle,
    torch_zip,
    write_sb3,
    zip_of,
)
from tests.payloads.hiding import old_torch

POLICY = {
    "actor.mu.weight": th.linspace(-1, 1, 12).reshape(3, 4),
    "actor.mu.bias": th.tensor([0.0, 1.0, 0.0]),
}


def counted(report: Report) -> tuple[int, int, int]:
    assert report.summary is not None
    return (report.summary.tensors, report.summary.parameters, report.summary.zero_parameters)


def scanned(tmp_path: Path, policy: Any) -> Report:
    return scan(write_sb3(tmp_path / "model.zip", policy))


def zeros_of(report: Report) -> dict[str, int]:
    return {layer.name: layer.zeros for layer in report.layers}


# -- the outer zip -----------------------------------------------------------------------------


def with_prefix(prefix: str) -> bytes:
    inner = members_of(saved(POLICY))
    return zip_of({f"{prefix}/{name.partition('/')[2]}": data for name, data in inner.items()})


def outer_layouts() -> dict[str, bytes]:
    members = sb3_members(POLICY)
    inner = members_of(members["policy.pth"])
    deflated_inner = {**members, "policy.pth": zip_of(inner, DEFLATED)}
    older = {name: data for name, data in members.items() if not name.startswith("_stable")}
    older["tensors.pth"] = saved({"log_ent_coef": th.zeros(1)})
    bare_inner = {n: d for n, d in inner.items() if n.endswith("data.pkl") or "/data/" in n}
    return {
        "as-sb3-writes-it": zip_of(members),
        "deflated": zip_of(members, DEFLATED),
        "deflated-inside": zip_of(deflated_inner),
        "deflated-twice": zip_of(deflated_inner, DEFLATED),
        "zip64": zip_of(members, zip64=True),
        "zip64-inside": zip_of({**members, "policy.pth": zip_of(inner, zip64=True)}),
        "members-turned-round": zip_of(dict(reversed(members.items()))),
        "with-a-comment": zip_of(members)[:-2] + b"\x05\x00hello",
        "with-unknown-members": zip_of({**members, "notes.txt": b"hello", "extra.pth": b""}),
        "with-legacy-tensors": zip_of(older),
        "prefix-of-the-stem": zip_of({**members, "policy.pth": with_prefix("policy")}),
        "prefix-with-odd-letters": zip_of({**members, "policy.pth": with_prefix("pölicy v2.0")}),
        "old-torch-without-extras": zip_of({**members, "policy.pth": zip_of(bare_inner)}),
        "before-torch-1.6": zip_of({**members, "policy.pth": saved(POLICY, legacy=True)}),
        "before-torch-1.6-deflated": zip_of(
            {**members, "policy.pth": saved(POLICY, legacy=True)}, DEFLATED
        ),
        "no-data": zip_of({"policy.pth": members["policy.pth"]}),
    }


OUTER = outer_layouts()


@pytest.mark.parametrize("layout", OUTER)
def test_layout_of_the_zip_changes_nothing(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(OUTER[layout])
    report = scan(path)
    assert counted(report) == torch_truth.counts(POLICY)
    assert zeros_of(report) == {"actor.mu.weight": 0, "actor.mu.bias": 2}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".zip", ""])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-torch-1.6"])
def test_bare_state_dict(tmp_path: Path, suffix: str, legacy: bool) -> None:
    path = tmp_path / f"policy{suffix}"
    path.write_bytes(saved(POLICY, legacy=legacy))
    report = scan(path)
    assert counted(report) == torch_truth.counts(POLICY)
    assert report.algorithm is None
    assert report.optimizer_learning_rates == {}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "policy_state_dict", "policy"])
def test_state_dict_beside_other_things(tmp_path: Path, key: str) -> None:
    path = tmp_path / "policy.pth"
    path.write_bytes(saved({"epoch": 3, key: POLICY, "loss": 0.5}))
    assert zeros_of(scan(path)) == {"actor.mu.weight": 0, "actor.mu.bias": 2}


def test_legacy_variables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(OUTER["with-legacy-tensors"])
    with Checkpoint(path) as checkpoint:
        assert checkpoint.variables["log_ent_coef"].item() == 0.0
        assert checkpoint.sb3_version is None


def test_a_key_of_the_old_format_whose_hash_has_no_end_is_not_worked_out(tmp_path: Path) -> None:
    """torch would, for ever, or until Python's stack ends and the process with it."""
    path = tmp_path / "policy.pth"
    twice = b"K\1\x85q\1" + b"".join(b"0h%ch%c\x86q%c" % (n, n, n + 1) for n in range(1, 60))
    for key in (twice, b"N" + b"\x85" * 200_000):
        path.write_bytes(old_torch(b"}" + key + b"Ns"))
        assert scan(path).status == "unknown"
        path.write_bytes(old_torch(b"cbuiltins\nset\n](" + key + b"e\x85R"))
        with pytest.raises(CorruptCheckpoint, match="holds no state dict"):
            scan(path)


# -- element types -----------------------------------------------------------------------------

FLOATS = (th.float16, th.float32, th.float64, th.bfloat16)
OTHERS = (
    *(th.int8, th.int16, th.int32, th.int64, th.uint8, th.bool),
    *(th.complex64, th.complex128),
)
LATE = (th.uint16, th.uint32, th.uint64, th.float8_e4m3fn, th.float8_e5m2)
"""Types that came with PyTorch 2; it writes them in no other format than the zip."""


@pytest.mark.parametrize("dtype", FLOATS + OTHERS + LATE, ids=str)
def test_element_types(tmp_path: Path, dtype: th.dtype) -> None:
    values = th.tensor([0, 1, 0, 3, 0, 0, 7]).to(dtype)
    assert counted(scanned(tmp_path, {"layer.weight": values})) == (1, 7, 4)


@pytest.mark.parametrize("dtype", FLOATS + OTHERS, ids=str)
def test_element_types_of_the_old_format(tmp_path: Path, dtype: th.dtype) -> None:
    values = th.tensor([0, 1, 0, 3, 0, 0, 7]).to(dtype)
    policy = saved({"layer.weight": values}, legacy=True)
    assert counted(scanned(tmp_path, policy)) == (1, 7, 4)


@pytest.mark.parametrize("dtype", (*FLOATS, th.complex64), ids=str)
def test_minus_zero_is_zero(tmp_path: Path, dtype: th.dtype) -> None:
    values = th.tensor([-0.0, 0.0, 1.0], dtype=dtype)
    assert zeros_of(scanned(tmp_path, {"layer.bias": values})) == {"layer.bias": 2}


@pytest.mark.parametrize("dtype", (th.float8_e4m3fn, th.float8_e5m2), ids=str)
def test_minus_zero_of_eight_bits_is_zero(tmp_path: Path, dtype: th.dtype) -> None:
    values = th.tensor([0x80, 0x00, 0x01], dtype=th.uint8).view(dtype)
    assert zeros_of(scanned(tmp_path, {"layer.bias": values})) == {"layer.bias": 2}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nan_infinity_and_the_smallest_number_are_not_zero(tmp_path: Path, dtype: th.dtype) -> None:
    smallest = th.finfo(dtype).smallest_normal
    values = th.tensor([float("nan"), float("inf"), -float("inf"), smallest], dtype=dtype)
    assert zeros_of(scanned(tmp_path, {"layer.bias": values})) == {"layer.bias": 0}


def test_the_smallest_subnormal_is_not_zero(tmp_path: Path) -> None:
    values = th.from_numpy(np.array([1, 2**31 + 1, 0], dtype=np.uint32).view(np.float32))
    assert zeros_of(scanned(tmp_path, {"layer.bias": values})) == {"layer.bias": 1}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_fresh_norms_are_known_in_every_type(tmp_path: Path, dtype: th.dtype) -> None:
    state = nn.LayerNorm(4, dtype=dtype).state_dict()
    report = scanned(tmp_path, {f"norm.{name}": value for name, value in state.items()})
    assert [layer.cause for layer in report.biases] == ["normalisation-init"]


# -- shapes, strides and shared memory ---------------------------------------------------------


def test_shapes_are_those_of_pytorch(tmp_path: Path) -> None:
    policy = {
        "scale": th.tensor(0.0),
        "nothing": th.empty(0),
        "no-rows": th.empty(0, 5),
        "one": th.zeros(1, 1, 1),
        "five": th.zeros(1, 2, 3, 4, 5),
    }
    report = scanned(tmp_path, policy)
    assert {layer.name: layer.shape for layer in report.layers} == {
        name: tuple(tensor.shape) for name, tensor in policy.items()
    }
    assert counted(report) == torch_truth.counts(policy)


def test_empty_bias_has_no_severity(tmp_path: Path) -> None:
    (layer,) = scanned(tmp_path, {"layer.bias": th.empty(0)}).layers
    assert (layer.role, layer.zeros, layer.severity) == ("bias", 0, None)


def test_views_are_counted_as_they_are_seen(tmp_path: Path) -> None:
    base = th.tensor([[0.0, 1.0, 2.0, 0.0], [0.0, 0.0, 3.0, 4.0], [5.0, 0.0, 0.0, 0.0]])
    views = {
        "transposed": base.t(),
        "every-second-column": base[:, ::2],
        "last-row": base[2],
        "a-corner": base[1:, 2:],
        "a-column": base[:, 3],
    }
    for name, view in views.items():
        assert zeros_of(scanned(tmp_path, {name: view})) == {name: torch_truth.zeros(view)}


@pytest.mark.parametrize(
    "expanded",
    [
        th.tensor([0.0]).expand(7),
        th.tensor([[0.0], [1.0]]).expand(2, 5),
        th.tensor([0.0, 1.0, 0.0]).expand(4, 3),
        th.tensor(0.0).expand(2, 3, 4),
        th.tensor([0.0, 1.0]).reshape(1, 2, 1).expand(3, 2, 5),
    ],
    ids=lambda tensor: "x".join(map(str, tensor.shape)),
)
def test_expanded_tensors_count_every_repetition(tmp_path: Path, expanded: th.Tensor) -> None:
    report = scanned(tmp_path, {"layer.weight": expanded})
    assert counted(report) == (1, expanded.numel(), torch_truth.zeros(expanded))


def test_expanded_without_end_is_counted_at_once(tmp_path: Path) -> None:
    """A tensor may claim 2^58 repetitions of four numbers; counting them one by one would hang."""
    rows = 2**58
    for name in ("lstm.bias_hh_l0", "gru.bias_hh_l0", "norm.bias", "fc.weight"):
        pickle = tensor_pickle(name=name, shape=(rows, 4), stride=(0, 1))
        storage = np.array([0, 1, 0, 1], np.float32).tobytes()
        (layer,) = scanned(tmp_path, torch_zip(pickle, {"0": storage})).layers
        assert (layer.parameters, layer.zeros) == (4 * rows, 2 * rows)
        assert set((layer.gates or {"all": 50.0}).values()) == {50.0}


def test_a_stride_that_is_never_used_may_be_anything(tmp_path: Path) -> None:
    pickle = tensor_pickle(shape=(1, 4), stride=(2**62, 1))
    report = scanned(tmp_path, torch_zip(pickle, {"0": bytes(16)}))
    assert counted(report) == (1, 4, 4)


def test_a_huge_dimension_beside_an_empty_one_is_empty(tmp_path: Path) -> None:
    pickle = tensor_pickle(name="lstm.bias_hh_l0", shape=(2**40, 0), stride=(1, 1))
    report = scanned(tmp_path, torch_zip(pickle, {"0": bytes(16)}))
    assert counted(report) == (1, 0, 0)


def test_aliases_are_counted_once(tmp_path: Path) -> None:
    bias = th.zeros(3)
    policy = {"features_extractor.bias": bias, "pi_features_extractor.bias": bias}
    policy["vf_features_extractor.bias"] = bias.view(3)
    report = scanned(tmp_path, policy)
    assert counted(report) == (1, 3, 3)
    assert [layer.alias_of for layer in report.layers] == [None, *2 * ["features_extractor.bias"]]
    assert [layer.severity is None for layer in report.layers] == [False, True, True]


def test_aliases_of_the_old_format_are_counted_once(tmp_path: Path) -> None:
    bias = th.zeros(3)
    report = scanned(tmp_path, saved({"a.bias": bias, "b.bias": bias}, legacy=True))
    assert [layer.alias_of for layer in report.layers] == [None, "a.bias"]


def test_neighbours_in_one_storage_are_no_aliases(tmp_path: Path) -> None:
    """cuDNN keeps all weights of an LSTM in one piece of memory."""
    lstm = nn.LSTM(3, 4)
    shapes = {name: tuple(p.shape) for name, p in lstm.named_parameters()}
    flat = th.arange(sum(p.numel() for p in lstm.parameters()), dtype=th.float32)
    policy, at = {}, 0
    for name, shape in shapes.items():
        numel = int(np.prod(shape))
        policy[f"lstm_actor.{name}"] = flat[at : at + numel].view(shape)
        at += numel
    assert len({t.untyped_storage().data_ptr() for t in policy.values()}) == 1
    report = scanned(tmp_path, policy)
    assert [layer.alias_of for layer in report.layers] == [None] * 4
    assert counted(report) == (4, len(flat), 1)


def test_equal_values_in_different_storages_are_no_aliases(tmp_path: Path) -> None:
    report = scanned(tmp_path, {"a.bias": th.zeros(3), "b.bias": th.zeros(3)})
    assert counted(report) == (2, 6, 6)


def test_parameters_and_buffers_are_read_like_tensors(tmp_path: Path) -> None:
    parameter = nn.Parameter(th.tensor([0.0, 1.0]))
    tagged = nn.Parameter(th.tensor([0.0, 0.0]))
    tagged.note = "kept by torch in a state of its own"  # type: ignore[attr-defined]
    policy = {
        "a.bias": parameter,
        "b.bias": nn.Parameter(th.zeros(3), requires_grad=False),
        "c.bias": tagged,
        "running_mean": nn.Buffer(th.zeros(2)),
    }
    expected = {"a.bias": 1, "b.bias": 3, "c.bias": 2, "running_mean": 2}
    assert zeros_of(scanned(tmp_path, policy)) == expected


def test_tensor_with_attributes_of_its_own_is_read(tmp_path: Path) -> None:
    tensor = th.tensor([0.0, 1.0])
    tensor.note = "hello"  # type: ignore[attr-defined]
    assert zeros_of(scanned(tmp_path, {"a.bias": tensor})) == {"a.bias": 1}


def test_numbers_beside_the_tensors_are_passed_over(tmp_path: Path) -> None:
    policy = {**POLICY, "version": 3, "note": "x", "nested": {"x": th.zeros(2)}}
    assert counted(scanned(tmp_path, policy)) == torch_truth.counts(POLICY)


def test_a_sound_state_dict_of_a_real_module_is_pytorchs(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.LSTM(8, 4, num_layers=2))
    state = module.state_dict()
    assert type(state).__name__ == "OrderedDict"
    assert counted(scanned(tmp_path, state)) == torch_truth.counts(state)


# -- where the bytes stand ---------------------------------------------------------------------


def test_positions_point_at_the_bytes_on_disk(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "model.zip", POLICY)
    data = path.read_bytes()
    with Checkpoint(path) as checkpoint:
        for name, tensor in checkpoint.tensors.items():
            at = tensor.storage.position
            assert at is not None
            raw = POLICY[name].numpy().tobytes()
            assert data[at : at + len(raw)] == raw


def test_deflated_bytes_stand_nowhere_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    for layout in ("deflated", "deflated-inside", "before-torch-1.6"):
        path.write_bytes(OUTER[layout])
        with Checkpoint(path) as checkpoint:
            assert {tensor.storage.position for tensor in checkpoint.tensors.values()} == {None}


def test_values_are_views_and_cannot_be_written(tmp_path: Path) -> None:
    with Checkpoint(write_sb3(tmp_path / "model.zip", POLICY)) as checkpoint:
        values = checkpoint.tensors["actor.mu.weight"].values
        np.testing.assert_array_equal(values, POLICY["actor.mu.weight"].numpy())
        assert not values.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            values[0, 0] = 1.0


def test_the_file_can_be_deleted_after_the_scan(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "model.zip", POLICY)
    scan(path)
    path.unlink()
    assert not path.exists()
