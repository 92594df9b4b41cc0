"""`sacdoctor fix-config`: training settings under which a run does not go bad again."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from sacdoctor.cli.options import ExitZeroOption, MaxBytesOption
from sacdoctor.cli.outcome import CLEAN, FINDINGS, TROUBLE, complain
from sacdoctor.cli.terminal import open_output
from sacdoctor.errors import SacdoctorError

if TYPE_CHECKING:
    from sacdoctor.settings.corrections import Change
    from sacdoctor.settings.fix_config import FixedConfig


STDIN = "-"
"""The path that stands for standard input."""
_NO_WARMUP = (
    "--warmup-steps is for a checkpoint; other files say no_trading_warmup_steps themselves"
)


class Notation(StrEnum):
    """What corrected settings are written as."""

    YAML = "yaml"
    JSON = "json"
    TOML = "toml"
    PYTHON = "python"
    ZOO = "zoo"


def fix_config(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="A checkpoint, a YAML, JSON or TOML file, rl-zoo hyperparameters, - for stdin. "
            "None: the recommended settings. Several with --check or --write. It may be at an "
            "address.",
            show_default=False,
        ),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(help="SAC, PPO, TD3, … Default: what SOURCE says, or SAC."),
    ] = None,
    format: Annotated[
        Notation | None,
        typer.Option(
            help="What to print without --check and --write. Default: SOURCE's own, or yaml."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what must change; exit with 1 if anything must.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Correct SOURCE in place; all else in it stays.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the result to this file, not to stdout.")
    ] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option(min=0, help="How long a checkpoint's environment forced its actions."),
    ] = None,
    max_bytes: MaxBytesOption = None,
    exit_zero: ExitZeroOption = False,
) -> int:
    """Print training settings that hold, or correct a settings file.

    Exit codes: 0 done, or nothing to change; 1 with --check, something must change; 2 wrong usage
    or something unreadable.
    """
    from sacdoctor.files import as_saved
    from sacdoctor.fleet import copies

    given = [source if source == STDIN else as_saved(source) for source in sources or ()]
    _refuse_together(given, output, check=check, write=write)
    if not (check or write):
        source = given[0] if given else None
        with copies(max_bytes) as here:
            file_here = source if source in (None, STDIN) else here.file(source)
            text = _rendered(_fixed(file_here, algorithm, warmup_steps), file_here, format)
        with open_output(output) as file:
            file.write(text)
        return CLEAN
    listed: dict[str, tuple[Change, ...]] = {}
    for source in given:
        try:
            with copies(max_bytes) as here:
                copy = source if source == STDIN else here.file(source)
                fixed = _fixed(copy, algorithm, warmup_steps)
            if write:
                _write_back(Path(copy), fixed)
        except SacdoctorError as error:
            if len(given) == 1:
                raise
            complain(error)
        else:
            listed[here.named(copy)] = fixed.changes
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.settings import print_changes

    with open_output(output) as file:
        print_changes(console(file), listed, named=len(given) > 1)
    if len(listed) < len(given):
        return TROUBLE
    return FINDINGS if check and any(listed.values()) and not exit_zero else CLEAN


def _refuse_together(
    sources: Sequence[str], output: Path | None, *, check: bool, write: bool
) -> None:
    from sacdoctor.fleet import path_here, without_credentials

    if check and write:
        raise SacdoctorError("--check writes nothing: give --check or --write, not both")
    if (check or write) and not sources:
        raise SacdoctorError("--check and --write need a SOURCE")
    if len(sources) > 1 and not (check or write):
        raise SacdoctorError("several files are checked or corrected: give --check or --write")
    if write and STDIN in sources:
        raise SacdoctorError("it cannot be written to: leave --write away", STDIN)
    if write and (afar := [source for source in sources if path_here(source) is None]):
        raise SacdoctorError(
            "nothing is written there: leave --write away, --output FILE takes the result",
            without_credentials(afar[0]),
        )
    if write and output is not None:
        raise SacdoctorError("--write corrects SOURCE itself: give --write or --output, not both")


def _fixed(source: str | None, algorithm: str | None, warmup_steps: int | None) -> FixedConfig:
    import sys

    from sacdoctor.settings.fix_config import fix_config as fixed_config
    from sacdoctor.settings.fix_config import fix_text

    if source != STDIN:
        fixed = fixed_config(source, algorithm=algorithm, warmup_steps=warmup_steps)
        if warmup_steps is not None and (source is None or fixed.language is not None):
            raise SacdoctorError(_NO_WARMUP)
        return fixed
    if warmup_steps is not None:
        raise SacdoctorError(_NO_WARMUP)
    from sacdoctor.settings.fix_config import MAX_SIZE

    try:
        return fix_text(sys.stdin.buffer.read(MAX_SIZE + 1), algorithm=algorithm)
    except SacdoctorError as error:
        raise error.at(STDIN) from None


def _rendered(fixed: FixedConfig, source: str | None, notation: Notation | None) -> str:
    from sacdoctor.settings.document import Language

    try:
        if notation is Notation.PYTHON:
            return fixed.as_python()
        if notation is Notation.ZOO:
            return fixed.as_zoo()
        return fixed.as_text(None if notation is None else Language(notation.value))
    except SacdoctorError as error:
        raise (error if source is None else error.at(source)) from None


def _write_back(path: Path, fixed: FixedConfig) -> None:
    from sacdoctor.files import replace_file

    if fixed.language is None:
        raise SacdoctorError(
            "settings in a checkpoint are corrected by `sacdoctor fix --learning-rate`", path
        )
    if fixed.changes:
        data = fixed.text.encode()
        replace_file(path, lambda file: _put(data, file))


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)
