"""Files that do harm when they are loaded: each leaves a mark, so that a test can see it fire.

`simple` are pickles that name what they call; `assembly` writes opcodes by hand; `calls` lists
functions of Python and its libraries that run something; `hiding` are programs that hide what they
do; `called` are settings that SB3 itself calls while it loads a model; `containers` are files that
readers take in two ways. `places` puts programs where they stand in real files, and `loading` loads
files as a user would, each in a process of its own.
"""

from tests.payloads.simple import (
    Calls,
    Touches,
    TouchesAsItIsMade,
    by_hand,
    indirect,
    serialized,
    text,
    touch,
    touching,
    with_settings,
)

__all__ = [
    "Calls",
    "Touches",
    "TouchesAsItIsMade",
    "by_hand",
    "indirect",
    "serialized",
    "text",
    "touch",
    "touching",
    "with_settings",
]
