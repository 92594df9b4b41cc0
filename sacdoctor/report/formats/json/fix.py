"""The result of a repair as JSON, version 1 of the schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacdoctor.repair import FixResult, RepairPlan, cures
from sacdoctor.report.formats.json.schema import (
    finding_document,
    head_document,
    summary_document,
    written,
)
from sacdoctor.report.results import Configuration


def render(
    results: Sequence[FixResult], configuration: Configuration | None = None, *, several: bool
) -> str:
    """Return one JSON document: the result itself, or with `several` a list of results."""
    documents = [_result(result) for result in results]
    document = head_document(configuration)
    document |= {"checkpoints": documents} if several else documents[0] if documents else {}
    return written(document) + "\n"


def _result(result: FixResult) -> dict[str, Any]:
    plan, before, after = result.plan, result.before.summary, result.after
    return {
        "source": result.source,
        "output": result.output,
        "repaired": [
            {
                "name": r.name,
                "elements": r.elements,
                "by": r.by,
                "fill": r.fill,
                "source": r.source,
                "age": r.age,
            }
            for r in plan.repaired
        ],
        "refits": [account.figures() | {"source": account.source} for account in plan.refits],
        "unused": [{"name": left.name, "reason": left.reason} for left in plan.unused],
        "left": [{"name": left.name, "reason": left.reason} for left in plan.left],
        "unstripped": [{"name": left.name, "reason": left.reason} for left in plan.unstripped],
        "unsafe": [finding_document(finding) for finding in result.unsafe],
        "remaining": [
            {
                **finding_document(finding),
                "cured_by": [f"sacdoctor {command}" for command in cures(finding, plan)],
            }
            for finding in result.remaining
        ],
        "optimizer": [
            {
                "file": reset.file,
                "name": reset.name,
                "elements": reset.elements,
                "step_reset": reset.step_reset,
                "note": reset.note or None,
            }
            for reset in plan.optimizer
        ],
        "settings": [
            {"key": change.key, "before": change.before, "after": change.after}
            for change in plan.settings
        ],
        "completed": [
            {
                "file": completion.file,
                "entries_before": completion.entries_before,
                "entries": len(completion.names),
                "added": list(completion.added),
            }
            for completion in plan.completions
        ],
        "unwrapped": sorted(plan.wrappers),
        **(_ported(plan) if "fix --for-this-environment" in plan.commands else {}),
        "loads_with": result.loads_with,
        "not_lasting": [
            {"cause": cause, "tensors": list(names)} for cause, names in result.not_lasting.items()
        ],
        "before": summary_document(before) if before else None,
        "after": summary_document(after.summary) if after and after.summary else None,
    }


def _ported(plan: RepairPlan) -> dict[str, Any]:
    return {
        "renamed": [
            {"place": r.place, "before": ".".join(r.before), "after": ".".join(r.after)}
            for r in plan.renames
        ],
        "unported": [{"name": left.name, "reason": left.reason} for left in plan.unported],
    }
