"""Checkpoints on web servers: kind ones with and without ranges, and hostile ones."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from sacdoctor import Report, ScanOptions, scan
from sacdoctor.fleet import Look, Patience, find_checkpoints, reports_on
from tests.conftest import Run
from tests.fleet import servers
from tests.fleet.conftest import HASTE, PAYLOAD

CODE = ScanOptions(select=("SD6",))


def reports(
    *urls: str, options: ScanOptions | None = None, patience: Patience | None = None
) -> list[Report]:
    options, patience = options or ScanOptions(), patience or Patience()
    targets = find_checkpoints(urls, options, patience)
    return list(reports_on(targets, Look(options, patience)))


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have temporary files where a test can see them."""
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "kept"))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("options", [ScanOptions(), CODE])
def test_a_file_elsewhere_has_the_report_that_it_has_here(
    large_payload: Path, ranges: bool, options: ScanOptions
) -> None:
    contents = {"agent.zip": large_payload.read_bytes()}
    with servers.serving(servers.files(contents, ranges=ranges)) as server:
        (found,) = reports(server.url("agent.zip"), options=options)
        here = scan(large_payload, options)
        assert found == replace(here, path=server.url("agent.zip"))
        assert "SD601" in {finding.rule for finding in found.findings}


def test_of_code_alone_a_twentieth_of_the_bytes_is_asked_for(large_payload: Path) -> None:
    contents = {"agent.zip": large_payload.read_bytes()}
    with servers.serving(servers.files(contents, ranges=True)) as server:
        reports(server.url("agent.zip"), options=CODE)
        assert server.sent <= 0.05 * large_payload.stat().st_size


def test_pages_of_folders_and_patterns(healthy_bytes: bytes) -> None:
    names = ("run/a.zip", "run/deep/b.zip", "run/notes.txt", "run/hidden.bin", "other/c.zip")
    contents = dict.fromkeys(names, healthy_bytes)
    contents |= {"run/notes.txt": b"nothing", "run/hidden.bin": PAYLOAD}
    with servers.serving(servers.files(contents, ranges=True)) as server:

        def found(path: str, options: ScanOptions | None = None) -> list[str]:
            start = server.url("")
            return [one.path.removeprefix(start) for one in reports(start + path, options=options)]

        assert found("run/") == ["run/a.zip", "run/deep/b.zip"]
        assert found("run/*.zip") == ["run/a.zip"]
        assert found("**/*.zip") == ["other/c.zip", "run/a.zip", "run/deep/b.zip"]
        assert found("run/", CODE) == ["run/a.zip", "run/deep/b.zip", "run/hidden.bin"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (servers.endless, "more than 50,000,000 bytes"),
        (servers.endless_part, "more than 50,000,000 bytes"),
        (servers.too_short, "breaks off before all has come"),
        (servers.drip, "too slowly"),
        (servers.silence, "does not answer in time"),
        (servers.sent_on_to("file:///etc/passwd"), "no web address, which was not followed"),
        (servers.sent_on_to("s3://bucket/model.zip"), "no web address, which was not followed"),
        (servers.sent_on_to("/again"), "from place to place"),
    ],
)
@pytest.mark.parametrize("options", [ScanOptions(), CODE])
def test_a_hostile_server_costs_seconds_and_no_disk(
    answer: servers.Answer, words: str, options: ScanOptions, tmp_path: Path, healthy: Path
) -> None:
    begun = time.monotonic()
    with servers.serving(answer) as server:
        first, second = reports(server.url(), str(healthy), options=options, patience=HASTE)
    assert words in (first.error or "")
    assert second.error is None
    assert time.monotonic() - begun < 20
    assert not any((tmp_path / "kept").iterdir())


def test_what_passes_is_tried_again(healthy_bytes: bytes) -> None:
    kind = servers.files({"model.zip": healthy_bytes}, ranges=True)

    def at_first_busy(handler: servers.Handler) -> None:
        if len(handler.server.asked) == 1:
            handler.send_error(503)
        else:
            kind(handler)

    with servers.serving(at_first_busy) as server:
        (found,) = reports(server.url())
        assert (found.error, len(server.asked)) == (None, 2)


def test_the_hub_is_asked_again_where_it_says_that_it_is_busy() -> None:
    class Busy(Exception):
        response = SimpleNamespace(status_code=429)

    def answer() -> str:
        tries.append(None)
        if len(tries) == 1:
            raise Busy
        return "here"

    tries: list[None] = []
    assert HASTE.again(answer) == "here"


@pytest.mark.parametrize("format", ["table", "json", "sarif"])
@pytest.mark.parametrize("path", ["model.zip", "none.zip"])
def test_credentials_are_nowhere_in_the_output(
    run: Run, broken: Path, format: str, path: str
) -> None:
    contents = {"model.zip": broken.read_bytes()}
    with servers.serving(servers.files(contents, ranges=True)) as server:
        url = server.url(f"{path}?token=hunter2", user="me:hunter2@")
        done = run("scan", "--format", format, url)
    assert path in done.out + done.err
    assert "hunter2" not in done.out + done.err
    assert done.code == (1 if path == "model.zip" else 2)


def test_services_are_told_the_address(run: Run, broken: Path, tmp_path: Path) -> None:
    contents = {"model.zip": broken.read_bytes()}
    with servers.serving(servers.files(contents, ranges=True)) as server:
        url = server.url()
        (result, *_) = json.loads(run("scan", "--format", "sarif", url).out)["runs"][0]["results"]
        github = run("scan", "--format", "github", url).out
        baseline = ("--baseline", tmp_path / "known.json")
        run("scan", *baseline, "--write-baseline", url)
        assert run("scan", *baseline, url).code == 0
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == url
    assert f"file={url.replace(':', '%3A')}," in github


def test_a_difference_of_files_here_and_elsewhere(run: Run, broken: Path) -> None:
    contents = {"model.zip": broken.read_bytes()}
    with servers.serving(servers.files(contents, ranges=True)) as server:
        same = run("diff", broken, server.url(user="me:hunter2@"))
        missing = run("diff", server.url("none.zip"), broken)
    assert same.code == 0
    assert server.url() in same.out.replace("\n", "")
    assert "hunter2" not in same.out
    assert missing.complaint == f"sacdoctor: {server.url('none.zip')}: there is no such file (404)"


@pytest.mark.slow
def test_several_processes_fetch_at_once(healthy_bytes: bytes, run: Run) -> None:
    contents = {f"{number}.zip": healthy_bytes for number in range(4)}
    with servers.serving(servers.files(contents, ranges=True)) as server:
        urls = [server.url(name) for name in contents]
        done = run("scan", "--jobs", "2", "--format", "jsonl", *urls)
    assert [json.loads(line)["path"] for line in done.out.splitlines()] == urls
    assert (done.code, done.err) == (0, "")
