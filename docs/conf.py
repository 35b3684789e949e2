"""Settings of the static site; `make site` builds it. Sphinx reads this file."""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import live  # noqa: E402  # stands beside this file

# Sphinx takes pages from one folder only: the notebooks stand in it while it is built.
shutil.rmtree(HERE / "notebooks", ignore_errors=True)
shutil.copytree(ROOT / "notebooks", HERE / "notebooks", ignore=shutil.ignore_patterns(".*"))
for page in (HERE / "notebooks").glob("*.ipynb"):  # there docs/ lies one folder higher
    page.write_text(page.read_text("utf-8").replace("](../docs/", "](../"), "utf-8")
live.build(HERE / "notebooks", HERE / "static")

project = "Differentiable architecture search"
author = "the dartslib authors"
copyright = "the dartslib authors, MIT license"
language = "en"

extensions = [
    "myst_nb",  # notebooks and Markdown as pages
    "sphinx.ext.autodoc",  # the API from the docstrings
    "sphinx.ext.napoleon",  # which are in Google's style
    "equations",  # drawn when the page is built
]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the committed outputs are the ones that were tested
nb_ipywidgets_js = {}  # widgets need a kernel, and these scripts a network
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True  # as in the source, not a path of the machine that built the page
exclude_patterns = ["**.ipynb_checkpoints"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "drawn"
html_context = {"default_mode": "auto"}  # said, or the theme complains in the browser's console
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],  # one search field is enough
}
suppress_warnings = ["mystnb.unknown_mime_type"]  # a widget shows its picture only with a kernel


def _skip_fields(app, what, name, obj, skip, options):
    # Those of a named tuple, which its docstring tells of.
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    """What Sphinx calls."""
    app.connect("autodoc-skip-member", _skip_fields)
