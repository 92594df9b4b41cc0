"""How values are spread, against counts by hand and by numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch as th

from sacdoctor import SacdoctorError
from sacdoctor.diagnosis.spread import BINS, LARGEST, SMALLEST, spreads
from tests.archives import sb3_members, zip_of


def written(path: Path, **tensors: th.Tensor) -> Path:
    path.write_bytes(zip_of(sb3_members(tensors)))
    return path


def test_zeros_stand_apart_and_so_does_what_is_not_finite(tmp_path: Path) -> None:
    values = th.tensor([0.0, -0.0, 1.5, -1.5, 0.015, th.nan, -th.inf])
    path = written(tmp_path / "model.zip", bias=values)
    found = spreads(path, ["bias"])["bias"]
    assert (found.zeros, found.non_finite, found.total) == (2, 2, 7)
    powers = {place: count for place, count in enumerate(found.counts) if count}
    # three bins to a power of ten, from 1e-8 on: 1.5 is in the first above 1e0
    assert powers == {3 * 8: 2, 3 * 6: 1}


def test_what_is_beyond_the_bins_is_in_the_first_or_the_last(tmp_path: Path) -> None:
    path = written(tmp_path / "model.zip", weight=th.tensor([1e-30, 1e30, 2.0e4]))
    counts = spreads(path, ["weight"])["weight"].counts
    assert (counts[0], counts[-1], sum(counts)) == (1, 2, 3)


@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16, th.float32, th.float64])
def test_every_type_of_float_is_counted_as_numpy_does(tmp_path: Path, dtype: th.dtype) -> None:
    values = th.randn(5_000, generator=th.Generator().manual_seed(1)).to(dtype)
    found = spreads(written(tmp_path / "model.zip", weight=values), ["weight"])["weight"]
    edges = 10.0 ** np.linspace(SMALLEST, LARGEST, BINS + 1)
    expected, _ = np.histogram(np.abs(values.double().numpy()), edges)
    assert np.abs(np.array(found.counts) - expected).sum() <= 2  # on an edge
    median = float(values.double().abs().median())
    assert found.median == pytest.approx(median, rel=0.5)


def test_whole_numbers_and_names_that_are_not_there_have_none(tmp_path: Path) -> None:
    path = written(tmp_path / "model.zip", steps=th.tensor([1, 2]), weight=th.ones(2))
    assert {*spreads(path, ["steps", "weight", "other"])} == {"weight"}


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SacdoctorError):
        spreads(tmp_path / "model.zip", ["weight"])
