"""Who looks: this process, others, a Dask cluster. Every result comes once, whoever is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch as th
from distributed import Client

from sacdoctor import ScanOptions
from sacdoctor.fleet import Look, find_checkpoints, reports_on
from tests.archives import write_sb3
from tests.conftest import Run, child_environment

WORKER = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard"]


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._environment = child_environment(
            # the scheduler asks the dead no longer than this for what they had
            DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s"
        )
        self._folder = folder
        told = folder / "scheduler.json"
        self._children: list[subprocess.Popen[bytes]] = []
        self._start(
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"),
            *("--port", "0", "--no-dashboard", "--scheduler-file", str(told)),
        )
        self.workers = [self._worker(), self._worker()]
        deadline = time.monotonic() + 30
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.client = Client(scheduler_file=str(told), set_as_default=False)
        self.client.wait_for_workers(2, timeout=30)
        self.address = self.client.scheduler.address

    def _worker(self) -> subprocess.Popen[bytes]:
        told = ("--scheduler-file", str(self._folder / "scheduler.json"), "--no-nanny")
        places = ("--local-directory", str(self._folder))
        return self._start(*WORKER, *told, *places)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._children.append(child)
        return child

    def tasks(self) -> int:
        """How many tasks the scheduler holds."""
        return int(self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

    def close(self) -> None:
        self.client.close()
        for child in self._children:
            child.kill()
            child.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def links(folder: Path, count: int) -> list[Path]:
    """So many names of one small checkpoint."""
    small = write_sb3(folder / "small", {"net.0.weight": th.ones(4, 4), "net.0.bias": th.ones(4)})
    for number in range(count):
        (folder / f"{number:04}.zip").symlink_to(small)
    return sorted(folder.glob("*.zip"))


@pytest.mark.slow
def test_a_cluster_finds_what_this_process_finds(
    cluster: Cluster, tmp_path: Path, healthy: Path, broken: Path, run: Run
) -> None:
    (tmp_path / "c.zip").write_bytes(b"nothing")
    paths = [str(healthy), str(broken), str(tmp_path / "c.zip"), str(tmp_path / "missing.zip")]
    look, targets = Look(ScanOptions()), find_checkpoints(paths)
    there = reports_on(targets, look, scheduler=cluster.address)
    by_path = {report.path: report for report in there}
    assert [by_path[path] for path in paths] == list(reports_on(targets, look))
    done = run("scan", "--scheduler", cluster.address, "--format", "jsonl", *paths[:2])
    assert (done.code, done.out.count("\n")) == (1, 2)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_result(cluster: Cluster, tmp_path: Path) -> None:
    paths = links(tmp_path, 600)
    reports = reports_on([*paths], Look(ScanOptions()), scheduler=cluster.address)
    seen = Counter(next(reports).path for _ in range(100))
    cluster.workers.pop().kill()
    seen.update(report.path for report in reports)
    assert seen == Counter(map(str, paths))
    assert cluster.tasks() == 0
    cluster.workers.append(cluster._worker())
    cluster.client.wait_for_workers(2, timeout=30)


@pytest.mark.slow
def test_control_c_leaves_the_cluster_clean(cluster: Cluster, tmp_path: Path) -> None:
    links(tmp_path, 3000)
    asked = ("scan", str(tmp_path), "--format", "jsonl", "--scheduler", cluster.address)
    child = subprocess.Popen(
        [sys.executable, "-m", "sacdoctor", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
    )
    assert child.stdout is not None
    child.stdout.read(20_000)  # it is at work
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, b"sacdoctor: interrupted\n")
    deadline = time.monotonic() + 10
    while cluster.tasks() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cluster.tasks() == 0


def test_where_nobody_schedules_is_one_line(run: Run, healthy: Path) -> None:
    done = run("scan", "--scheduler", "nosuch://place", healthy)
    assert (done.code, done.out) == (2, "")
    assert done.complaint.startswith("sacdoctor: nosuch://place: no Dask scheduler answers: ")


def test_jobs_and_a_scheduler_exclude_each_other(run: Run, healthy: Path) -> None:
    done = run("scan", "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1", healthy)
    assert done.code == 2
    assert "give one" in done.complaint
