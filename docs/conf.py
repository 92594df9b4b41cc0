"""The site of these pages: what is written stands beside this file, the rest is made from code.

`sphinx-build -W docs OUT` makes it. What is made (`made.py`) is written anew at every build and is
not committed: it cannot say what the code does not.
"""

import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from sacdoctor.diagnosis.rules import RULES
from sacdoctor.version import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from made import pages  # noqa: E402

project = "sacdoctor"
version = release = __version__
author = "the authors of sacdoctor"
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence"]
myst_disable_syntax = ["html_block", "html_inline"]  # help texts say <stem> and mean it
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

smartquotes_action = "D"  # dashes alone
default_role = "code"  # docstrings are Markdown: what stands in single backticks is code
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"sacdoctor {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

CODE = re.compile(r"\b(SD\d{3})\b")
PLAIN = (nodes.literal, nodes.literal_block, nodes.reference, nodes.title)
"""Where a rule's code is no link."""


def write_pages(_app: Sphinx) -> None:
    """Write the pages that are made from code."""
    shutil.rmtree(HERE / "rules", ignore_errors=True)
    (HERE / "rules").mkdir()
    for path, text in pages().items():
        (HERE / path).write_text(text, encoding="utf-8")


def link_codes(app: Sphinx, document: nodes.document, page: str) -> None:
    """Make each rule's code in a text lead to its page; a code that no rule has is a warning."""
    known = {rule.code for rule in RULES}
    for text in list(document.findall(nodes.Text)):
        if _is_plain(text) or not CODE.search(text):
            continue
        parts: list[nodes.Node] = []
        for part in CODE.split(text):
            if CODE.fullmatch(part) and part not in known:
                logging.getLogger(__name__).warning("no rule is called %s", part, location=page)
            if part in known and page != f"rules/{part}":
                address = app.builder.get_relative_uri(page, f"rules/{part}")
                parts.append(nodes.reference("", part, internal=True, refuri=address))
            else:
                parts.append(nodes.Text(part))
        text.parent.replace(text, parts)


def _is_plain(node: nodes.Node) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, PLAIN):
            return True
    return False


def setup(app: Sphinx) -> None:
    """Have pages written before any is read, and rules' codes linked when one is done."""
    app.connect("builder-inited", write_pages)
    app.connect("doctree-resolved", link_codes)
