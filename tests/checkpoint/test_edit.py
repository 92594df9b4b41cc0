"""Learning rates in pickles of every protocol: changed under the key `lr` and nowhere else."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.errors import UnsupportedCheckpoint
from tests.archives import members_of, saved, sb3_members, zip_of
from tests.repair import truth

RATE = 0.125


def with_rate(folder: Path, optimizer: bytes, rate: float = RATE) -> dict[str, bytes]:
    """The members of a checkpoint with this optimizer file, its learning rate corrected."""
    members = sb3_members({"a.bias": th.ones(2)}, {"learning_rate": 0.5})
    members["policy.optimizer.pth"] = optimizer
    path = folder / "m.zip"
    path.write_bytes(zip_of(members))
    with Checkpoint(path) as checkpoint:
        pieces = checkpoint.edited(Edits(learning_rate=rate))
        return members_of(b"".join(bytes(piece) for piece in pieces))


def written(state: Any, protocol: int) -> bytes:
    out = io.BytesIO()
    th.save(state, out, pickle_protocol=protocol)
    return out.getvalue()


def load(data: bytes) -> Any:
    return th.load(io.BytesIO(data), weights_only=False)


def state_of(*rates: Any, **options: Any) -> dict[str, Any]:
    return {
        "state": {},
        "param_groups": [
            {"lr": rate, "betas": (0.9, 0.999), **options, "params": [number]}
            for number, rate in enumerate(rates)
        ],
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "rates",
    [(0.5,), (0.5, 0.5), (1, 300, 70_000), (0.5, np.float64(0.5)), (th.tensor(0.5), 0.5)],
    ids=str,
)
def test_every_group_gets_the_rate_in_every_protocol(
    tmp_path: Path, protocol: int, rates: tuple[Any, ...]
) -> None:
    state = state_of(*rates, weight_decay=0.5, initial_lr=0.5, name="lr", maximize=False)
    after = load(with_rate(tmp_path, written(state, protocol))["policy.optimizer.pth"])
    expected = state_of(*[RATE] * len(rates), weight_decay=0.5, initial_lr=0.5, name="lr")
    for group in expected["param_groups"]:
        group["maximize"] = False
    assert {**after, "param_groups": [dict(sorted(g.items())) for g in after["param_groups"]]} == {
        **expected,
        "param_groups": [dict(sorted(g.items())) for g in expected["param_groups"]],
    }
    assert all(type(group["lr"]) is float for group in after["param_groups"])


def test_lr_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """As a value, as part of a name, in a tuple beside a number."""
    state = state_of(0.5, note="lr", pair=("lr", 0.5), lr_decay=0.5, lrs=["lr", 0.5])
    after = load(with_rate(tmp_path, saved(state))["policy.optimizer.pth"])
    (old,), (new,) = state["param_groups"], after["param_groups"]
    assert new == {**old, "lr": RATE}


def test_a_value_that_is_recalled_later_survives_its_place(tmp_path: Path) -> None:
    """All groups share one tensor, and `other` does too: the pickle recalls the first."""
    shared = th.tensor(0.5)
    state = state_of(shared, shared, other=shared)
    after = load(with_rate(tmp_path, saved(state))["policy.optimizer.pth"])
    for group in after["param_groups"]:
        assert group["lr"] == RATE
        assert type(group["lr"]) is float
        assert th.equal(group["other"], shared)
        assert list(group) == ["lr", "betas", "other", "params"]


def test_a_plain_rate_changes_eight_bytes_and_checksums(tmp_path: Path) -> None:
    layer = th.nn.Linear(3, 2)
    optimizer = th.optim.Adam(layer.parameters(), lr=1e-3)
    layer(th.ones(1, 3)).sum().backward()
    optimizer.step()
    before = saved(optimizer.state_dict())
    after = with_rate(tmp_path, before)["policy.optimizer.pth"]
    assert len(after) == len(before)
    different = sum(a != b for a, b in zip(before, after, strict=True))
    assert 0 < different <= 8 + 3 * 4
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.testzip() is None
    assert truth.load(after)["param_groups"][0]["lr"] == RATE


@pytest.mark.parametrize("rate", [1e-4, 5e-324, 1.7e308, 1 / 3])
def test_the_rate_is_exact(tmp_path: Path, rate: float) -> None:
    members = with_rate(tmp_path, saved(state_of(0.5)), rate)
    assert load(members["policy.optimizer.pth"])["param_groups"][0]["lr"] == rate
    assert f'"learning_rate": {rate!r}'.encode() in members["data"]


def test_an_optimizer_without_a_rate_is_refused(tmp_path: Path) -> None:
    state = {"state": {}, "param_groups": [{"params": [0]}]}
    with pytest.raises(UnsupportedCheckpoint, match=r"policy\.optimizer\.pth: no learning rate"):
        with_rate(tmp_path, saved(state))


def test_python_agrees_with_torch_on_the_pickle(tmp_path: Path) -> None:
    """The pickle alone, without torch's own reader: still one whole, valid pickle."""
    members = members_of(with_rate(tmp_path, saved(state_of(3, 4)))["policy.optimizer.pth"])
    data = members[next(name for name in members if name.endswith("data.pkl"))]
    assert [group["lr"] for group in pickle.loads(data)["param_groups"]] == [RATE, RATE]
