"""What loading a file would run: references, the allow list, dangerous names."""

from sacdoctor.trust.hidden import holds_hidden_pickle
from sacdoctor.trust.known_names import role_of
from sacdoctor.trust.parts import (
    ENDINGS,
    PickledPart,
    begins_as_pickle,
    encoded_pickles,
    is_pickle_file,
    parts_of,
    parts_of_pickle,
)
from sacdoctor.trust.references import Kind
from sacdoctor.trust.suspicions import (
    NAMED,
    LoadedCode,
    Suspicion,
    description,
    each_once,
    evidence,
    suspicions,
)

__all__ = [
    "ENDINGS",
    "NAMED",
    "Kind",
    "LoadedCode",
    "PickledPart",
    "Suspicion",
    "begins_as_pickle",
    "description",
    "each_once",
    "encoded_pickles",
    "evidence",
    "holds_hidden_pickle",
    "is_pickle_file",
    "parts_of",
    "parts_of_pickle",
    "role_of",
    "suspicions",
]
