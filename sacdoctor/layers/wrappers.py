"""What wrapped modules put into names: `_orig_mod` (torch.compile) and `module` (DataParallel)."""

from __future__ import annotations

from collections.abc import Collection

COMPILED = "_orig_mod"
WRAPPERS = (COMPILED, "module")
"""Where a wrapper keeps the module it wraps. Sources: torch/_dynamo/eval_frame.py,
`OptimizedModule`; torch/nn/parallel/data_parallel.py."""


def wrapper_paths(name: str) -> tuple[str, ...]:
    """Return the paths in a name that end in a wrapper, the outermost first.

    Of `actor._orig_mod.mu.weight` that is `actor._orig_mod`.
    """
    parts = name.split(".")
    return tuple(
        ".".join(parts[: at + 1]) for at, part in enumerate(parts[:-1]) if part in WRAPPERS
    )


def unwrapped(name: str, wrappers: Collection[str]) -> str:
    """Return a name without the wrappers at these paths; other names are as they were."""
    parts = name.split(".")
    kept = [part for at, part in enumerate(parts) if ".".join(parts[: at + 1]) not in wrappers]
    return ".".join(kept)
