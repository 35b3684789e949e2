"""Equations of the site as drawings inside the page: no script, no network, no font to load.

A Sphinx extension. Each equation becomes an SVG that ziamath draws from its LaTeX when the page is
built; the LaTeX is its text for screen readers. An equation that cannot be drawn is a warning, and
with `make site` an error.
"""

import html
import re
from functools import cache

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
SIZE = 18  # of letters, in CSS pixels; the text around has 16 and larger letters


@cache
def drawn(latex: str, inline: bool) -> str:
    """The SVG of an equation, on the line of the text if it is inline.

    Raises ValueError where the LaTeX cannot be drawn.
    """
    try:
        equation = ziamath.Latex(latex, size=SIZE, inline=inline)
        svg = equation.svg()
    except Exception as error:  # whatever its parser stumbles over
        raise ValueError(f"{latex!r} cannot be drawn: {error}") from error
    words = html.escape(" ".join(latex.split()))
    style = f' style="vertical-align: {equation.getyofst():.2f}px"' if inline else ""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{words}" class="equation"{style} ', 1)


def _html(latex: str, inline: bool, node: nodes.Node) -> str:
    try:
        return drawn(latex, inline)
    except ValueError as error:
        logger.warning(str(error), location=node)
        return f"<code>{html.escape(latex)}</code>"


def inline_equation(self, node: nodes.math) -> None:
    """Visitor of an equation in a line."""
    self.body.append(f'<span class="equation">{_html(node.astext(), True, node)}</span>')
    raise nodes.SkipNode


def block_equation(self, node: nodes.math_block) -> None:
    """Visitor of an equation that stands alone; a wide one is scrolled, not cut."""
    latex = re.sub(r"\\(begin|end)\{(equation|align)\*?\}", "", node.astext())
    drawing = _html(latex.strip(), False, node)
    self.body.append(f'<div class="equation-block" tabindex="0">{drawing}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_html_math_renderer("drawn", (inline_equation, None), (block_equation, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
