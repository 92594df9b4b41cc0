"""`sacdoctor schema`: the JSON Schema of each JSON document."""

from __future__ import annotations

from typing import Annotated

import typer

from sacdoctor.cli.outcome import CLEAN
from sacdoctor.cli.terminal import open_output
from sacdoctor.errors import SacdoctorError


def schema(
    document: Annotated[
        str | None,
        typer.Argument(metavar="[DOCUMENT]", help="Which; mostly the verb that writes it."),
    ] = None,
) -> int:
    """Print the JSON Schema of a document, or say which documents there are."""
    import json

    from sacdoctor.report.formats.json.schemas import schema as schema_of
    from sacdoctor.report.formats.json.schemas import schema_names

    names = schema_names()
    if document is not None and document not in names:
        raise SacdoctorError(f"no document {document!r}: there are {', '.join(names)}")
    with open_output(None) as file:
        if document is not None:
            file.write(json.dumps(schema_of(document), indent=1) + "\n")
        else:
            width = max(map(len, names))
            file.writelines(f"{name:{width}}  {schema_of(name)['title']}\n" for name in names)
    return CLEAN
