"""Inputs of less than a megabyte that were made to take for ever, or gigabytes: every verb ends
within two seconds and 256 MiB, with a result or one line.

All of them, by every verb: `benchmarks/bombs.py`. Here stands each once, before two verbs in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bombs.files import PLACES, Bomb, bombs, opened_again_and_again
from tests.bombs.programs import PROGRAMS
from tests.bombs.running import SECONDS, Runner, needs_torch
from tests.cli.test_bombs import SHARED, end

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
    pytest.mark.slow,
]
MAKES_A_MODEL = 2.0
"""Seconds that a verb may take beyond its limit where it makes a live model first."""


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[bool, Runner]]:
    with ExitStack() as stack:
        yield {torch: stack.enter_context(Runner(with_torch=torch)) for torch in (False, True)}


def chosen() -> list[Bomb]:
    """Return every bomb, but of the programs each in one place."""
    turns = {kind: [*PLACES][number % len(PLACES)] for number, kind in enumerate(PROGRAMS)}
    return [bomb for bomb in bombs() if turns.get(bomb.kind, bomb.place) == bomb.place]


@pytest.mark.parametrize(
    ("number", "bomb"), [*enumerate(chosen())], ids=lambda x: getattr(x, "kind", None)
)
def test_a_bomb_is_soon_over(
    number: int, bomb: Bomb, runners: dict[bool, Runner], tmp_path: Path
) -> None:
    verbs = bomb.put(tmp_path)
    for turn in {number % len(verbs), (number + len(verbs) // 2) % len(verbs)}:
        verb, arguments = verbs[turn]
        torch = needs_torch(verb)
        ended = runners[torch].run(arguments, tmp_path / "run")
        most = SECONDS * SHARED + MAKES_A_MODEL * torch
        assert not ended.faults(most), (verb, bomb.place, ended)
    assert not [*tmp_path.rglob(".sacdoctor-*")]


def test_a_pickle_that_opens_one_again_and_again_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(opened_again_and_again())
    assert end("scan", "--select", "SD6", path)[0] == 1


@pytest.mark.parametrize("interval", ["nan", "inf", "-1", "1e300"])
def test_an_interval_that_is_no_number_of_seconds_is_refused(interval: str, tmp_path: Path) -> None:
    code, complaint, _, _ = end("watch", tmp_path, "--interval", interval)
    assert code == 2
    assert "--interval" in complaint
