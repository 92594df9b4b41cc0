"""Addresses of other kinds: S3 as moto serves it, memory, zips in zips, and what nobody knows."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pytest
import s3fs
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from sacdoctor import Report, ScanOptions
from sacdoctor.fleet import Look, find_checkpoints, reports_on
from tests.conftest import Run
from tests.fleet.conftest import PAYLOAD

CODE = ScanOptions(select=("SD6",))


def reports(*urls: str, options: ScanOptions | None = None) -> list[Report]:
    options = options or ScanOptions()
    return list(reports_on(find_checkpoints(urls, options), Look(options)))


class Bucket:
    """An S3 server, and the bytes of bodies that it has sent."""

    def __init__(self) -> None:
        self.sent = 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self._counted, threaded=True)

    def _counted(self, environment: dict[str, Any], start: Any) -> Iterator[bytes]:
        for part in self._app(environment, start):
            self.sent += len(part)
            yield part


@pytest.fixture(scope="module")
def bucket(large_payload: Path, healthy_bytes: bytes) -> Iterator[Bucket]:
    bucket = Bucket()
    thread = Thread(target=bucket.server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.server.port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patch.setenv(name, "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        fs = s3fs.S3FileSystem()
        fs.mkdir("agents")
        fs.put(str(large_payload), "agents/large.zip")
        fs.pipe({"agents/run/a.zip": healthy_bytes, "agents/run/deep/b.zip": healthy_bytes})
        fs.pipe({"agents/run/hidden": PAYLOAD, "agents/run/log.txt": b"step 1"})
        s3fs.S3FileSystem.clear_instance_cache()  # what it has listed is not asked for again
        yield bucket
    s3fs.S3FileSystem.clear_instance_cache()
    bucket.server.shutdown()
    thread.join()


def test_a_scan_of_code_over_s3_reads_a_twentieth_of_the_bytes(
    bucket: Bucket, large_payload: Path, run: Run
) -> None:
    bucket.sent = 0
    done = run("scan", "--select", "SD6", "s3://agents/large.zip")
    assert done.code == 1
    assert "SD601" in done.out
    assert 0 < bucket.sent <= 0.05 * large_payload.stat().st_size


def test_folders_and_patterns_in_a_bucket(bucket: Bucket) -> None:
    def found(url: str, options: ScanOptions | None = None) -> list[str]:
        return [one.path for one in reports(url, options=options) if one.error is None]

    both = ["s3://agents/run/a.zip", "s3://agents/run/deep/b.zip"]
    assert found("s3://agents/run") == found("s3://agents/run/**/*.zip") == both
    assert found("s3://agents/run/*.zip") == both[:1]
    assert found("s3://agents/run", CODE) == [*both, "s3://agents/run/hidden"]


def test_of_a_run_in_a_bucket_what_is_looked_at_is_fetched(
    bucket: Bucket, run: Run, healthy_bytes: bytes
) -> None:
    bucket.sent = 0
    done = run("history", "--format", "json", "s3://agents/run/")
    paths = [one["path"] for one in json.loads(done.out)["checkpoints"]]
    assert sorted(paths) == ["s3://agents/run/a.zip", "s3://agents/run/deep/b.zip"]
    assert bucket.sent < 2 * len(healthy_bytes) + 10_000


def test_memory_and_a_zip_in_an_archive(tmp_path: Path, healthy: Path) -> None:
    fsspec.filesystem("memory").pipe("/run/a.zip", healthy.read_bytes())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(healthy, "deep/b.zip")
    inside = f"zip://deep/b.zip::{tmp_path}/all.zip"
    found = reports("memory://run", inside, f"zip://**/*.zip::{tmp_path}/all.zip")
    assert [one.path for one in found] == ["memory://run/a.zip", inside]
    assert {one.status for one in found} == {"healthy"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://nowhere.zip", "there is no such file or folder"),
        ("nosuch://bucket/a.zip", "nothing is known of addresses that begin with nosuch://"),
        ("gs://bucket/a.zip", "gs:// needs gcsfs: pip install 'sacdoctor[gcs]'"),
    ],
)
def test_what_leads_nowhere_is_an_error_and_the_rest_goes_on(
    url: str, words: str, healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    first, second = reports(url, str(healthy))
    assert (first.path, first.error) == (url, words)
    assert second.status == "healthy"


def test_an_address_of_a_file_here_is_its_path(healthy: Path) -> None:
    assert [one.path for one in reports(f"file://{healthy}")] == [str(healthy)]
