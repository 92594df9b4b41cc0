"""A scan's memory does not grow with the checkpoint."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.archives import tensor_pickle
from tests.conftest import child_environment
from tests.scan_document import parse

SIDE = 16_384  # squared and times four bytes: 1 GiB
MIB = 1024**2
ROLLUP = Path("/proc/self/smaps_rollup")

pytestmark = [
    pytest.mark.skipif(not ROLLUP.exists(), reason="needs Linux's smaps_rollup"),
    pytest.mark.slow,
]


class _Sparse:
    """A file to write to, in which long runs of zeros take no room on the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def write(self, data: bytes) -> int:
        if len(data) < MIB:
            self._file.seek(self._at)
            self._file.write(data)
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


@pytest.fixture(scope="module", params=["FloatStorage", "BFloat16Storage"])
def gibibyte(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A checkpoint whose only tensor is 1 GiB of zeros."""
    path = tmp_path_factory.mktemp("large") / "model.zip"
    columns = SIDE if request.param == "FloatStorage" else 2 * SIDE
    pickle = tensor_pickle(
        name="q_net.q_net.0.weight",
        storage_class=request.param,
        numel=SIDE * columns,
        shape=(SIDE, columns),
        stride=(columns, 1),
    )
    zeros = bytes(16 * MIB)
    with path.open("wb") as file, zipfile.ZipFile(_Sparse(file), "w") as outer:  # type: ignore[arg-type]
        outer.writestr("data", "{}")
        with (
            outer.open("policy.pth", "w", force_zip64=True) as member,
            zipfile.ZipFile(member, "w") as inner,
        ):
            inner.writestr("archive/data.pkl", pickle)
            with inner.open("archive/data/0", "w", force_zip64=True) as storage:
                for _ in range(64):
                    storage.write(zeros)
    assert path.stat().st_size > 1024 * MIB
    yield path
    path.unlink()


def test_a_tensor_of_a_gibibyte_takes_less_than_200_mib(gibibyte: Path) -> None:
    command = [sys.executable, "-m", "sacdoctor", "scan", str(gibibyte), "--all"]
    with subprocess.Popen(
        [*command, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
    ) as child:
        peak = 0
        while child.poll() is None:
            peak = max(peak, _private_bytes(child.pid))
            time.sleep(0.005)
        assert child.stdout is not None
        assert child.stderr is not None
        out, err = child.stdout.read(), child.stderr.read()
    assert (child.returncode, err) == (0, "")
    summary = parse(out)["checkpoints"][0]["summary"]
    assert summary["zero_parameters"] == summary["parameters"] > SIDE * SIDE - 1
    assert 5 * MIB < peak < 200 * MIB


def _private_bytes(pid: int) -> int:
    """Memory that belongs to this process alone, mapped pages of files included."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return 0
    fields = dict(line.split(":") for line in rollup.splitlines()[1:])
    return sum(
        1024 * int(fields[name].split()[0])
        for name in ("Private_Clean", "Private_Dirty", "Private_Hugetlb")
        if name in fields
    )
