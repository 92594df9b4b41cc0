"""`sacdoctor fix`: write a repaired copy beside the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.options import TABLE, ConfigOption, ShowConfigOption, format_option
from sacdoctor.cli.outcome import CLEAN, FINDINGS, TROUBLE, complain
from sacdoctor.cli.terminal import open_output, progress
from sacdoctor.errors import SacdoctorError
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import FixResults

if TYPE_CHECKING:
    from sacdoctor.options import ScanOptions
    from sacdoctor.repair import Donors, FixResult

TARGET, AUTO = "target", "auto"
"""Donors that are no paths: the living target network in the checkpoint itself; that and whatever
lies beside it."""


def fix(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Checkpoints, folders or patterns."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the repaired copy goes.", show_default="<stem>_FIXED.zip beside it"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws; the same seed, the same file.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing output.")] = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Repair only tensors whose name matches."),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(
            metavar="auto|target|PATH",
            help="Take dead values from the target network or an earlier checkpoint, or fit them "
            "to what a replay buffer (.pkl) recorded, or a .npz of the observations and actions "
            "of a healthy policy; auto looks for all of these beside the checkpoint.",
        ),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE", help="Import a policy of your own from this module, for a refit."
        ),
    ] = None,
    keep_optimizer: Annotated[
        bool, typer.Option("--keep-optimizer", help="Leave the optimizer's moments as they are.")
    ] = False,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Correct the learning rate inside the checkpoint, for good."),
    ] = None,
    max_grad_norm: Annotated[
        float | None,
        typer.Option(help="Correct the gradient clipping inside the checkpoint."),
    ] = None,
    strip_code: Annotated[
        bool,
        typer.Option(
            "--strip-code",
            help="Put numbers in place of pickled schedules, which loading runs. Alone it re-draws "
            "nothing: biases are repaired too with --only, --donor, or another correction.",
        ),
    ] = False,
    for_this_environment: Annotated[
        bool,
        typer.Option(
            "--for-this-environment",
            help="Have pickles ask for gym's spaces and numpy's functions by the names that they "
            "have here (SD805). Alone it re-draws nothing.",
        ),
    ] = False,
    complete_optimizer: Annotated[
        bool,
        typer.Option(
            "--complete-optimizer",
            help="Add the entries that a policy has which makes its optimizer last (SD202).",
        ),
    ] = False,
    buffer: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Names of tensors that are buffers: no entry."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Names of tensors that are parameters."),
    ] = None,
    copy_if_healthy: Annotated[
        bool, typer.Option("--copy-if-healthy", help="Copy a checkpoint that needs no repair.")
    ] = False,
    config: ConfigOption = None,
    show_config: ShowConfigOption = False,
    format: Annotated[str, format_option(FixResults)] = TABLE,
) -> int:
    """Write a repaired copy: dead biases re-initialised, their optimizer moments cleared.

    The input is never touched. Every byte that needs no repair stays as it was. Exit codes:
    0 repaired, or nothing to repair; 1 --strip-code left dangerous code (SD601) in a file; 2 wrong
    usage or something in the way.
    """
    from sacdoctor.cli.asked import LOOKS, asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.files import as_saved
    from sacdoctor.fleet import Address, find_checkpoints
    from sacdoctor.repair import RepairOptions
    from sacdoctor.repair import fix as repair

    for name, value in (("--learning-rate", learning_rate), ("--max-grad-norm", max_grad_norm)):
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{name} must be above 0 and finite")
    if (buffer or parameter) and not complete_optimizer:
        raise typer.BadParameter("--buffer and --parameter belong to --complete-optimizer")
    asked = asked_for(Config(), config, heeds=LOOKS, show=show_config)
    targets = find_checkpoints(paths)
    named = None if donor in (None, TARGET, AUTO) else as_saved(str(donor))
    if output is not None and len(targets) > 1:
        raise typer.BadParameter("--output takes one checkpoint, and there are several")
    options = RepairOptions(
        seed=seed,
        only=only,
        from_target=donor == TARGET,
        keep_optimizer=keep_optimizer,
        learning_rate=learning_rate,
        max_grad_norm=max_grad_norm,
        strip_code=strip_code,
        for_this_environment=for_this_environment,
        complete_optimizer=complete_optimizer,
        buffers=tuple(buffer or ()),
        parameters=tuple(parameter or ()),
        trust=tuple(trust or ()),
    )
    results: list[FixResult] = []
    with progress(len(targets), "repairing") as advance:
        for target in targets:
            try:
                if isinstance(target, SacdoctorError):
                    raise target
                if isinstance(target, Address):
                    raise SacdoctorError("fetch it first: a repair is of a file here", str(target))
                result = repair(
                    target,
                    output=output,
                    options=options,
                    scan_options=asked.options,
                    donor=_found(target, asked.options) if donor == AUTO else named,
                    dry_run=dry_run,
                    force=force,
                    copy_if_healthy=copy_if_healthy,
                )
                results.append(result)
            except SacdoctorError as error:
                complain(error)
            advance()
    with open_output(None) as file:
        several = len(targets) > 1
        FORMATS[format].write(FixResults(results, several, dry_run, asked.configuration), file)
    if len(results) < len(targets):
        return TROUBLE
    return FINDINGS if strip_code and any(r.unsafe for r in results) else CLEAN


def _found(path: Path, options: ScanOptions) -> Donors:
    """Return what lies beside a checkpoint that dead values can be taken from."""
    from sacdoctor.history import find_donors

    return find_donors(path, options)
