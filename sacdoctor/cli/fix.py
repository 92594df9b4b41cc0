"""`sacdoctor fix`: write a repaired copy beside the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacdoctor.cli.options import (
    TABLE,
    ConfigOption,
    MaxBytesOption,
    ShowConfigOption,
    format_option,
    path_alone,
)
from sacdoctor.cli.outcome import CLEAN, FINDINGS, TROUBLE, complain
from sacdoctor.cli.terminal import open_output, progress
from sacdoctor.errors import SacdoctorError
from sacdoctor.printable import printable
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import FixResults

if TYPE_CHECKING:
    from sacdoctor.fleet import Copies, Patience, Target
    from sacdoctor.options import ScanOptions
    from sacdoctor.repair import Donors, FixResult

TARGET, AUTO = "target", "auto"
"""Donors that are no paths: the living target network in the checkpoint itself; that and whatever
lies beside it."""


def fix(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Checkpoints, folders or patterns, here or at an address."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            callback=path_alone,
            help="Where the repaired copy goes.",
            show_default="<stem>_FIXED.zip beside it, of an address here",
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
            "of a healthy policy; auto looks for all of these beside the checkpoint. PATH may be "
            "an address.",
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
    max_bytes: MaxBytesOption = None,
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
    from sacdoctor.fleet import Patience, copies, find_checkpoints
    from sacdoctor.repair import RepairOptions

    for name, value in (("--learning-rate", learning_rate), ("--max-grad-norm", max_grad_norm)):
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{name} must be above 0 and finite")
    if (buffer or parameter) and not complete_optimizer:
        raise typer.BadParameter("--buffer and --parameter belong to --complete-optimizer")
    asked = asked_for(Config(), config, heeds=LOOKS, show=show_config)
    patience = Patience.of(max_bytes)
    targets = find_checkpoints(paths, patience=patience)
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
    with progress(len(targets), "repairing") as advance, copies(patience=patience) as here:
        named = None if donor == TARGET else donor
        if named not in (None, AUTO):
            named = here.file(as_saved(str(named)))
        for target in targets:
            try:
                place = _free_place(target, output, results)
                result = _repaired(
                    target,
                    named,
                    patience,
                    output=place,
                    options=options,
                    scan_options=asked.options,
                    dry_run=dry_run,
                    force=force,
                    copy_if_healthy=copy_if_healthy,
                )
                results.append(here.named(result))
            except SacdoctorError as error:
                here.name(error)
                complain(error)
            advance()
    with open_output(None) as file:
        several = len(targets) > 1
        FORMATS[format].write(FixResults(results, several, dry_run, asked.configuration), file)
    if len(results) < len(targets):
        return TROUBLE
    return FINDINGS if strip_code and any(r.unsafe for r in results) else CLEAN


def _free_place(target: Target, output: Path | None, done: Sequence[FixResult]) -> Path:
    """Return where the repaired copy goes; raises `SacdoctorError` where this call put another.

    That of a file at an address goes to the present folder, whatever folder the file is in.
    """
    from sacdoctor.fleet import Address
    from sacdoctor.repair import fixed_name

    if isinstance(target, SacdoctorError):
        raise target
    # What a server calls a file is not to be what a terminal obeys when its folder is listed.
    name = printable(target.kept_as) if isinstance(target, Address) else os.path.realpath(target)
    place = output or fixed_name(Path(name))
    taken = {os.path.realpath(one.output) for one in done if one.output is not None}
    if os.path.realpath(place) in taken:
        reason = f"{place} is that of another file: repair it alone, with --output"
        raise SacdoctorError(reason, str(target))
    return place


def _repaired(target: Target, donor: str | None, patience: Patience, **how: Any) -> FixResult:
    """Return what was done to a checkpoint here, or to a copy of one at an address."""
    from sacdoctor.fleet import Address, copies
    from sacdoctor.repair import fix as repair

    source = str(target) if isinstance(target, Address) else None
    with copies(patience=patience) as here:
        if not isinstance(target, Address):
            path = str(target)
        elif donor is None:
            path = here.file(target.url)
        elif donor == AUTO:
            from sacdoctor.history import MOST_EARLIER, ROLLOUT

            path = here.checkpoint(target.url, earlier=MOST_EARLIER, also=[ROLLOUT])
        else:
            path = here.checkpoint(target.url, buffer=False)
        options = here.looking(how.pop("scan_options"))
        if donor != AUTO:
            here.refuse_unfetched()
        found = _beside(path, options, here) if donor == AUTO else donor
        return here.named(repair(path, donor=found, source=source, scan_options=options, **how))


def _beside(path: str, options: ScanOptions, here: Copies) -> Donors:
    """Return what lies beside a checkpoint that dead values can be taken from.

    What lies at an address and is not here it says is not used.
    """
    from msgspec.structs import replace

    from sacdoctor.history import find_donors
    from sacdoctor.repair import Left

    found = find_donors(path, options)
    unused = [*found.unused, *(Left(str(error.path), error.reason) for error in here.unfetched)]
    if here.others:
        which = "the other checkpoint" if len(here.others) == 1 else "the other checkpoints"
        reason = "not fetched; an earlier one is taken where --donor names it"
        unused.append(Left(f"{which} there", reason))
    return replace(found, unused=tuple(unused))
