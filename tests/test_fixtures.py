"""The reference checkpoints are what the story of the project says they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th

from fixtures.make import CHECKPOINTS, NAMES, make
from sacdoctor import Checkpoint, scan
from tests import torch_truth

MIB = 1024**2


def test_committed_checkpoints_take_at_most_2_mib() -> None:
    assert {path.stem for path in CHECKPOINTS.glob("*.zip")} >= set(NAMES)
    assert sum(path.stat().st_size for path in CHECKPOINTS.iterdir()) <= 2 * MIB


@pytest.mark.parametrize("name", NAMES)
def test_broken_ones_are_critical_and_the_others_are_not(name: str) -> None:
    report = scan(CHECKPOINTS / f"{name}.zip")
    assert (report.summary is not None) and (report.summary.critical > 0) == ("broken" in name)
    assert report.algorithm == ("SAC" if name.startswith("sac") else "RecurrentPPO")


def test_full_two_head_has_the_tensors_of_the_original(full_two_head: Path) -> None:
    """178 names, 132 parameters and 2 buffers without the shared extractor's two other names."""
    tensors = torch_truth.state_dict(full_two_head)
    own = dict(torch_truth.distinct(tensors))
    assert len(tensors) == 178
    assert len(own) == 134
    assert {name for name in own if not name.startswith("memory_bank.memory_processor")} >= {
        "memory_bank.trade_memory",
        "memory_bank.memory_ptr",
    }
    assert tuple(tensors["v8_shared_lstm.weight_ih_l0"].shape) == (1024, 256)
    assert tuple(tensors["v11_shared_gru.weight_ih_l0"].shape) == (768, 256)
    assert tuple(tensors["hybrid_fusion.0.weight"].shape) == (256, 512)


def test_full_two_heads_optimizer_knows_41_of_132_parameters(full_two_head: Path) -> None:
    with Checkpoint(full_two_head) as checkpoint:
        assert len(checkpoint.optimizers["policy.optimizer"].entries) == 41


@pytest.mark.slow
def test_training_again_gives_the_same_tensors(tmp_path: Path) -> None:
    first, second = (
        torch_truth.state_dict(make("two_head_broken", "small", tmp_path / folder))
        for folder in ("first", "second")
    )
    committed = torch_truth.state_dict(CHECKPOINTS / "two_head_broken.zip")
    assert first.keys() == second.keys() == committed.keys()
    assert all(th.equal(first[name], second[name]) for name in first)
    # Another processor may round otherwise; what was never trained is drawn alike everywhere.
    assert torch_truth.all_zero(first) == torch_truth.all_zero(committed)
    assert {n: t.shape for n, t in first.items()} == {n: t.shape for n, t in committed.items()}
