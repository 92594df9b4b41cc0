"""The open file behind a checkpoint: what is asked of it once it is closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th

from sacdoctor import Checkpoint
from sacdoctor.checkpoint.edits import Edits
from tests.archives import saved, write_sb3

ASKED: dict[str, Callable[[Checkpoint], object]] = {
    **{
        name: lambda checkpoint, name=name: getattr(checkpoint, name)
        for name in (
            *("buffer", "tensors", "variables", "optimizers", "hyperparameters", "algorithm"),
            *("policy_class", "sb3_version", "is_repaired", "record"),
        )
    },
    "pickles": lambda checkpoint: checkpoint.pickles(),
    "edited": lambda checkpoint: checkpoint.edited(Edits()),
    "with": lambda checkpoint: checkpoint.__enter__(),
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("before", [True, False], ids=["read before", "not read before"])
def test_a_closed_checkpoint_says_so_as_a_closed_file_does(
    tmp_path: Path, name: str, before: bool
) -> None:
    path = write_sb3(tmp_path / "model.zip", {"a.bias": th.zeros(2)})
    with Checkpoint(path) as checkpoint:
        if before:
            ASKED[name](checkpoint)
    with pytest.raises(ValueError, match=r"model\.zip: it is closed"):
        ASKED[name](checkpoint)


def test_a_checkpoint_may_be_closed_twice_and_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "policy.pth"
    path.write_bytes(saved({"a.bias": th.zeros(2)}))
    with Checkpoint(path) as checkpoint:
        checkpoint.close()
    checkpoint.close()
    assert checkpoint.path == path
    assert checkpoint.container.name == "a bare state dict"


def test_views_outlast_the_checkpoint(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "model.zip", {"a.bias": th.tensor([1.0, 2.0])})
    with Checkpoint(path) as checkpoint:
        tensor = checkpoint.tensors["a.bias"]
    assert tensor.values.tolist() == [1.0, 2.0]
