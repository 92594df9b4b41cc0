"""Runs and repairs at addresses: as they are here, with what is looked at fetched and no more."""

from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from msgspec.structs import replace
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet import copies
from tests import agents
from tests.archives import members_of
from tests.conftest import Run, child_environment
from tests.fleet import servers
from tests.fleet.conftest import HASTE
from tests.repair.test_completed import handmade
from tests.runs import Runs

STATISTICS = "vec_normalize.pkl"
FIXED = Path("m_FIXED.zip")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have temporary files where a test can see them."""
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as SB3's organisation has them on the Hub, of an agent under VecNormalize."""
    folder = tmp_path_factory.mktemp("hub") / "ppo-Tiny"
    folder.mkdir()
    env = VecNormalize(DummyVecEnv([lambda: agents.TinyEnv(agents.VECTOR, False)]))
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1).learn(16)
    model.save(folder / "ppo-Tiny")
    env.save(str(folder / STATISTICS))
    with zipfile.ZipFile(folder / "ppo-Tiny.zip") as archive:
        archive.extractall(folder / "ppo-Tiny")
    for name in ("args.yml", "config.json", "README.md", "replay.mp4"):
        (folder / name).write_bytes(b"not looked at")
    rewards = "".join(f"{number},10,{number}\n" for number in range(30))
    (folder / "monitor.csv").write_text(f'#{{"t_start": 0}}\nr,l,t\n{rewards}')
    return folder


@contextmanager
def served(folder: Path) -> Iterator[tuple[servers.Server, str]]:
    """Serve a folder under its name; give the server and the folder's address."""
    files = {p.relative_to(folder.parent).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    contents = {name: path.read_bytes() for name, path in files.items()}
    with servers.serving(servers.files(contents, ranges=False)) as server:
        yield server, server.url(f"{folder.name}/")


def fetched(server: servers.Server) -> set[str]:
    return {Path(path).name for path, _ in server.asked if not path.endswith("/")}


@pytest.mark.parametrize("verb", [("history",), ("checkup", "--no-probe")])
def test_a_run_elsewhere_comes_to_what_it_comes_to_here(
    hub: Path, verb: tuple[str, ...], run: Run, temporary: Path
) -> None:
    here = run(*verb, "--format", "json", hub)
    with served(hub) as (server, url):
        there = run(*verb, "--format", "json", url)
    assert there.out == here.out.replace(str(hub), url.rstrip("/"))
    assert (there.code, there.err) == (here.code, here.err)
    assert fetched(server) == {"ppo-Tiny.zip", STATISTICS, "monitor.csv"}
    assert not any(temporary.iterdir())


def test_a_checkpoint_elsewhere_has_its_statistics_beside_it(hub: Path, run: Run) -> None:
    with served(hub) as (server, url):
        found = run("checkup", "--no-probe", "--format", "json", f"{url}ppo-Tiny.zip")
        assert fetched(server) == {"ppo-Tiny.zip", STATISTICS}
    lost = dict.fromkeys([f"{hub.name}/a.zip"], (hub / "ppo-Tiny.zip").read_bytes())
    with servers.serving(servers.files(lost, ranges=False)) as server:
        alone = run("checkup", "--no-probe", "--format", "json", server.url(f"{hub.name}/a.zip"))
    assert "SD801" not in found.out
    assert "SD801" in alone.out


@pytest.mark.parametrize("verb", [("checkup", "--no-probe"), ("scan",), ("fix", "--dry-run")])
def test_a_folder_without_its_slash_is_one(hub: Path, verb: tuple[str, ...], run: Run) -> None:
    with served(hub) as (_, url):
        with_it, without = run(*verb, url), run(*verb, url.rstrip("/"))
        file = run("probe", url.rstrip("/"))
    assert with_it.code == 0
    assert without == with_it
    assert "it is a folder: give the address of a file in it" in file.complaint


def test_where_a_server_lists_nothing_nothing_is_said_of_what_lies_beside(
    hub: Path, run: Run
) -> None:
    content = (hub / "ppo-Tiny.zip").read_bytes()

    def no_pages(handler: servers.Handler) -> None:
        if handler.path.endswith("/"):
            handler.send_error(403)
        else:
            servers.files({"a.zip": content}, ranges=False)(handler)

    with servers.serving(no_pages) as server:
        alone = run("checkup", "--no-probe", "--format", "json", server.url("a.zip"))
        folder = run("history", server.url("run/"))
    assert alone.code == 0
    assert "SD801" not in alone.out
    assert folder.code == 2
    assert "does not let you read it (403)" in folder.complaint
    assert "fetch it first" in folder.complaint


def test_of_numbered_buffers_the_last_is_fetched(hub: Path, run: Run) -> None:
    model = (hub / "ppo-Tiny.zip").read_bytes()
    fs = fsspec.filesystem("memory")
    for steps in (100, 200, 1000):
        fs.pipe(f"/sac/rl_model_{steps}_steps.zip", model)
        fs.pipe(f"/sac/rl_model_replay_buffer_{steps}_steps.pkl", b"\x80\x04N.")
    with copies() as here:
        folder = Path(here.run("memory://sac"))
        assert [path.name for path in sorted(folder.glob("*.pkl"))] == [
            "rl_model_replay_buffer_1000_steps.pkl"
        ]


def test_what_cannot_be_fetched_is_told_and_the_rest_is_looked_at(hub: Path, run: Run) -> None:
    model = (hub / "ppo-Tiny.zip").read_bytes()
    fsspec.filesystem("memory").pipe({"/odd/a.zip": model, "/odd/large.zip": bytes(len(model) + 1)})
    limits = ("--no-probe", "--max-bytes", len(model), "--format", "json")
    done = run("checkup", *limits, "memory://odd")
    assert done.code == 2
    assert done.complaint.startswith("sacdoctor: memory://odd/large.zip: it has more than ")
    document = json.loads(done.out)
    assert [report["path"] for report in document["not_read"]] == ["memory://odd/large.zip"]
    assert "1 checkpoint of PPO" in document["looked_at"][0]


@pytest.mark.parametrize(
    "verb",
    [
        ("warmup", "--format", "json"),
        ("fix-config", "--check"),
        ("diff", "--format", "json"),
        pytest.param(("probe", "--format", "json"), marks=pytest.mark.slow),
    ],
)
def test_other_verbs_take_an_address_too(verb: tuple[str, ...], hub: Path, run: Run) -> None:
    address, file = "memory://repo/ppo-Tiny.zip", hub / "ppo-Tiny.zip"
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/repo/{name}": (hub / name).read_bytes() for name in (file.name, STATISTICS)})
    more = (file,) if verb[0] == "diff" else ()
    there, here = run(*verb, address, *more), run(*verb, file, *more)
    assert (there.code, there.err) == (here.code, here.err)
    first = 1 if verb[0] == "diff" else -1
    assert there.out == here.out.replace(str(file), address, first)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("watch", "s3://lab/run/"), "a folder here is followed"),
        (("fix-config", "--write", "s3://lab/a.yml"), "nothing is written there"),
        (("history", "memory://nowhere/run"), "there is no such file or folder"),
        (("fix", "http://127.0.0.1:1/a.zip"), "no server answers there"),
        (("warmup", "http://127.0.0.1:1/run/"), "it is a folder: give the address of a file in it"),
        (
            ("history", "nosuch://lab/run"),
            "nothing is known of addresses that begin with nosuch://",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(asked: tuple[str, ...], words: str, run: Run) -> None:
    done = run(*asked)
    assert done.code == 2
    assert done.complaint.startswith(f"sacdoctor: {asked[-1]}: {words}")


@pytest.mark.parametrize(
    "asked",
    [
        ("history", "--output", "{}", "run"),
        ("history", "--config", "{}", "run"),
        ("fix", "--output={}", "a.zip"),
        ("fix-config", "--output", "{}", "a.zip"),
        ("warmup", "--clean", "{}", "a.pkl"),
        ("scan", "--baseline", "{}", "a.zip"),
        ("scan", "--resume", "{}", "a.zip"),
    ],
)
def test_no_address_is_taken_for_a_path(asked: tuple[str, ...], run: Run) -> None:
    done = run(*(word.format("https://me:hunter2@host/x") for word in asked))
    assert done.code == 2
    assert ": it is an address: give the path of a file here; see " in done.complaint
    assert "hunter2" not in done.complaint


@pytest.mark.parametrize(
    "asked",
    [
        ("diff", "a", "b", "{}"),
        ("history", "--format", "{}", "run"),
        ("history", "--format={}", "run"),
        ("schema", "{}"),
        ("rules", "{}"),
    ],
)
def test_a_complaint_never_tells_what_opens_an_address(asked: tuple[str, ...], run: Run) -> None:
    done = run(*(word.format("https://me:hunter2@host/x") for word in asked))
    assert done.code == 2
    assert "https://host/x" in done.complaint
    assert "hunter2" not in done.complaint.lower()


def test_a_hostile_listing_leads_nowhere_else(hub: Path, tmp_path: Path, temporary: Path) -> None:
    model = (hub / "ppo-Tiny.zip").read_bytes()
    names = (
        "../../../out.zip",
        "a.zip",
        "A.zip",
        "a.zip/b.zip",
        f"{'n' * 300}.zip",
        "%2e%2e/c.zip",
    )

    def answer(handler: servers.Handler) -> None:
        if handler.path == "/run/":
            page = "".join(f'<a href="{name}">x</a>' for name in names).encode()
            handler.begin(200, len(page), Content_Type="text/html")
            handler.send(page)
        else:
            handler.begin(200, len(model))
            handler.send(model)

    with servers.serving(answer) as server, copies() as here:
        folder = Path(here.run(server.url("run/")))
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.zip")}
        assert {"a.zip", "A.zip"} <= found
        assert len(here.unfetched) == 3
        assert {*tmp_path.rglob("*.zip")} == {folder / name for name in found}
    assert not any(temporary.iterdir())


def test_a_listed_name_is_no_address_of_another_place(hub: Path, tmp_path: Path, run: Run) -> None:
    model = (hub / "ppo-Tiny.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as own:
        own.writestr("x.zip", model)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"x.zip::file://{tmp_path}/own.zip", bytes(len(model)))
        archive.writestr("good.zip", model)
    fsspec.filesystem("memory").pipe("/named/all.zip", content.getvalue())
    for verb in (("scan",), ("history",), ("fix", "--dry-run")):
        done = run(*verb, "--format", "json", "zip://::memory://named/all.zip")
        assert done.code == 2
        assert "x.zip%3A%3Afile://" in done.complaint


def test_a_page_that_leads_to_itself_is_given_up() -> None:
    def answer(handler: servers.Handler) -> None:
        page = b'<a href="1.zip">1</a><a href="again/">again</a>'
        handler.begin(200, len(page), Content_Type="text/html")
        handler.send(page)

    with servers.serving(answer) as server, copies() as here:
        with pytest.raises(SacdoctorError, match="more than 32 folders in one another"):
            here.run(server.url("run/"))
        assert len(server.asked) == 32


def test_pages_that_come_one_by_one_are_given_up() -> None:
    def answer(handler: servers.Handler) -> None:
        time.sleep(0.05)
        is_top = handler.path == "/run/"
        page = "".join(f'<a href="{number}/">x</a>' for number in range(1000) if is_top).encode()
        handler.begin(200, len(page), Content_Type="text/html")
        handler.send(page)

    haste = replace(HASTE, page=0.01)
    given_up = pytest.raises(SacdoctorError, match="pages, which list its files, come too slowly")
    with servers.serving(answer) as server, copies(patience=haste) as here:
        with given_up:
            here.run(server.url("run/"))
        assert len(server.asked) < 50


def test_a_pickle_that_is_too_large_for_statistics_is_none(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = (hub / STATISTICS).read_bytes()
    contents = {
        "run/a.zip": (hub / "ppo-Tiny.zip").read_bytes(),
        "run/a_replay_buffer.pkl": bytes(3 * len(statistics)),
        f"run/{STATISTICS}": statistics,
        "run/large.pkl": bytes(2 * len(statistics)),
    }
    monkeypatch.setattr("sacdoctor.fleet.copying.MOST_BYTES_OF_STATISTICS", len(statistics))
    with servers.serving(servers.files(contents, ranges=False)) as server, copies() as here:
        found = Path(here.run(server.url("run/")))
        beside = Path(here.checkpoint(server.url("run/a.zip"))).parent
        for folder in (found, beside):
            names = {path.name for path in folder.iterdir()}
            assert names == {"a.zip", "a_replay_buffer.pkl", STATISTICS}
        assert not here.unfetched


def test_a_name_as_long_as_names_can_be(hub: Path, run: Run) -> None:
    name = f"{'n' * 251}.zip"
    fsspec.filesystem("memory").pipe(f"/long/{name}", (hub / "ppo-Tiny.zip").read_bytes())
    assert run("history", "memory://long").code == 0
    assert run("warmup", f"memory://long/{name}").code == 0


def test_a_full_disk_is_not_the_fault_of_a_name(
    hub: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fsspec.filesystem("memory").pipe("/full/a.zip", (hub / "ppo-Tiny.zip").read_bytes())
    monkeypatch.setattr(Path, "touch", full)
    done = run("history", "memory://full")
    assert done.complaint == "sacdoctor: memory://full: it cannot be kept: No space left on device"


def test_a_listing_without_end_is_given_up() -> None:
    def answer(handler: servers.Handler) -> None:
        page = "".join(f'<a href="{number}.zip">x</a>' for number in range(20_001)).encode()
        handler.begin(200, len(page), Content_Type="text/html")
        handler.send(page)

    given_up = pytest.raises(SacdoctorError, match="more than 20,000 files")
    with servers.serving(answer) as server, copies() as here, given_up:
        here.run(server.url("run/"))


def test_a_server_that_keeps_one_waiting_at_each_file_is_given_up(hub: Path) -> None:
    names = [f"{number}.zip" for number in range(100)]

    def answer(handler: servers.Handler) -> None:
        if handler.path == "/run/":
            servers.files({f"run/{name}": b"" for name in names}, ranges=False)(handler)
        else:
            servers.silence(handler)

    begun = time.monotonic()
    haste = replace(HASTE, silence=0.1, grace=0.1, tries=1)
    given_up = pytest.raises(SacdoctorError, match="does not answer in time")
    with servers.serving(answer) as server, copies(patience=haste) as here:
        with given_up:
            here.run(server.url("run/"))
        assert "came too slowly" in here.unfetched[-1].reason
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        (signal.SIGINT, 130, b"sacdoctor: interrupted\n"),
        (signal.SIGTERM, 143, b""),
    ],
)
def test_however_it_is_ended_nothing_stays_behind(
    temporary: Path, kind: signal.Signals, code: int, said: bytes
) -> None:
    def answer(handler: servers.Handler) -> None:
        if handler.path == "/run/":
            servers.files({"run/a.zip": b""}, ranges=False)(handler)
        else:
            servers.drip(handler)

    with servers.serving(answer) as server:
        child = subprocess.Popen(
            [sys.executable, "-m", "sacdoctor", "history", server.url("run/")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(TMPDIR=str(temporary)),
        )
        while not any(path == "/run/a.zip" for path, _ in server.asked):
            time.sleep(0.02)
        assert any(temporary.iterdir())
        child.send_signal(kind)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (code, said)
    assert not any(temporary.iterdir())


def test_a_second_control_c_waits_until_copies_are_removed(
    hub: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").pipe("/twice/a.zip", (hub / "ppo-Tiny.zip").read_bytes())
    remove = tempfile.TemporaryDirectory.cleanup

    def slowly(folder: tempfile.TemporaryDirectory[str]) -> None:
        signal.raise_signal(signal.SIGINT)
        remove(folder)

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", slowly)
    with pytest.raises(KeyboardInterrupt), copies() as here:
        here.run("memory://twice")
        signal.raise_signal(signal.SIGINT)
    assert not any(temporary.iterdir())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


# -- repairs -----------------------------------------------------------------------------------


def test_a_repair_of_a_file_elsewhere_lands_here_and_says_where_from(
    run: Run, broken: Path, tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "local").mkdir()
    local = tmp_path / "local" / "agent_FIXED.zip"
    assert run("fix", broken, "--output", local).code == 0
    contents = {"runs/agent.zip": broken.read_bytes()}
    with servers.serving(servers.files(contents, ranges=False)) as server:
        url, shown = (server.url("runs/agent.zip", user) for user in ("me:hunter2@", ""))
        done = run("fix", "--format", "json", url)
        again = run("fix", url)
        several = run("fix", "--force", url, f"{url}?v=2")
    result = json.loads(done.out)
    assert (done.code, result["source"], result["output"]) == (0, shown, "agent_FIXED.zip")
    with zipfile.ZipFile("agent_FIXED.zip") as there, zipfile.ZipFile(local) as here:
        for name in here.namelist():
            if name != "sacdoctor.json":
                assert there.read(name) == here.read(name)
        (note,) = json.loads(there.read("sacdoctor.json"))["repairs"]
        (plain,) = json.loads(here.read("sacdoctor.json"))["repairs"]
    assert note == plain | {"source": shown}
    assert again.code == 2
    assert "agent_FIXED.zip" in again.complaint
    assert several.code == 2
    assert "that of another file" in several.complaint
    assert "hunter2" not in done.out + done.err + again.err + several.out + several.err
    assert not any(temporary.iterdir())


def test_donors_elsewhere(run: Run, broken: Path, healthy: Path, tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe({"/sick/agent.zip": broken.read_bytes(), "/sick/older.zip": healthy.read_bytes()})
    there = run("fix", "memory://sick/agent.zip", "--donor", "memory://sick/older.zip")
    here = run("fix", broken, "--donor", healthy, "--output", tmp_path / "here.zip")
    assert (there.code, here.code) == (0, 0)
    assert "memory://sick/agent.zip" in there.out
    with zipfile.ZipFile("agent_FIXED.zip") as one, zipfile.ZipFile(tmp_path / "here.zip") as other:
        assert one.read("policy.pth") == other.read("policy.pth")
    auto = run("fix", "memory://sick/agent.zip", "--donor", "auto", "--force", "--dry-run")
    assert auto.code == 0
    assert "the other checkpoint there: not fetched" in " ".join(auto.out.split())


@pytest.mark.slow
def test_what_lies_beside_is_looked_for_elsewhere_as_it_is_here(runs: Runs, run: Run) -> None:
    folder = runs("dead bias")
    name = "rl_model_1000_steps.zip"
    files = {f"/dead/{path.name}": path.read_bytes() for path in folder.iterdir()}
    fsspec.filesystem("memory").pipe(files)
    how = ("fix", "--donor", "auto", "--dry-run", "--format", "json")
    there, here = run(*how, f"memory://dead/{name}"), run(*how, folder / name)
    assert there.out == here.out.replace(str(folder), "memory://dead")


@pytest.mark.parametrize("verb", [("history",), ("checkup", "--no-probe"), ("fix", "--dry-run")])
def test_without_an_address_no_driver_is_loaded(verb: tuple[str, ...], hub: Path) -> None:
    code = (
        "import sys, sacdoctor.cli.main as m\n"
        f"sys.argv = ['sacdoctor', *{verb!r}, {str(hub)!r}]\n"
        "try:\n    m.main()\n"
        "finally:\n    print(sorted({'fsspec', 'torch', 'aiohttp', 'tenacity'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_an_optimizer_is_completed_elsewhere_as_it_is_here(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    here = handmade(tmp_path / "here")
    done = run("fix", "--complete-optimizer", here)
    with servers.serving(servers.files({"m.zip": here.read_bytes()}, ranges=False)) as server:
        there = run("fix", "--complete-optimizer", server.url("m.zip"))
    assert (there.code, there.err) == (done.code, done.err) == (0, "")
    copies_of = [members_of(f.read_bytes()) for f in (here.with_name("m_FIXED.zip"), FIXED)]
    notes = [json.loads(members.pop("sacdoctor.json"))["repairs"][0] for members in copies_of]
    assert notes[1].pop("source") == server.url("m.zip")
    assert notes[0] == notes[1]
    assert copies_of[0] == copies_of[1]


def test_folders_in_folders_without_end_are_not_made(run: Run, temporary: Path) -> None:
    """Python makes them and removes them with a call for each."""

    def endless(handler: servers.Handler) -> None:
        page = f'<a href="{"a/" * 1900}m.zip">m</a>'.encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    with servers.serving(endless) as server:
        done = run("history", server.url("run/"))
    assert done.code == 2
    assert "no file here can have its name" in done.err
    assert not any(temporary.iterdir())
