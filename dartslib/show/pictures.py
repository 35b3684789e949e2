"""A figure as an HTML picture with a description: to be read by ear, and compared by text."""

import base64
import html
import io
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 144  # pixels of the PNG per inch
CSS_PIXELS = 90  # per inch on the page; fewer than the PNG has, for sharp letters


@dataclass(frozen=True, repr=False)
class Picture:
    """A PNG with an alternative text; as the last line of a cell it shows itself.

    The text form is the description alone, and the HTML form differs between machines only inside
    the `data:` address, so that a notebook's outputs can be compared.
    """

    png: bytes
    description: str
    width: int  # on the page, in CSS pixels

    def _repr_html_(self) -> str:
        return image_tag(self.png, self.description, f'width="{self.width}" ')

    def __repr__(self) -> str:
        return self.description


def picture(figure: Figure | bytes, description: str) -> Picture:
    """Make a `Picture` of a matplotlib figure or of the bytes of a PNG.

    Args:
        figure: the figure (closed afterwards, so that it is not shown a second time), or PNG bytes,
            for instance graphviz's `graph.pipe("png")`.
        description: what the picture shows, in words; of a live run only what is drawn, since its
            numbers differ between machines.

    Raises ValueError for an empty description and TypeError for what is neither a figure nor bytes.
    """
    if not description.strip():
        raise ValueError("A picture needs a description: say in a sentence what it shows.")
    if isinstance(figure, bytes):
        inches, png = Image.open(io.BytesIO(figure)).width / DPI, figure
    elif isinstance(figure, Figure):
        if "matplotlib.pyplot" in sys.modules:  # only then can the figure be open
            sys.modules["matplotlib.pyplot"].close(figure)
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # not savefig with its "tight" box: the width is part of the HTML
        inches, png = figure.get_figwidth(), small_png(canvas.buffer_rgba())
    else:
        kind = type(figure).__name__
        raise TypeError(f"picture() takes a matplotlib Figure or the bytes of a PNG, not {kind}.")
    return Picture(png, description, round(inches * CSS_PIXELS))


def image_tag(png: bytes, description: str, size: str = "") -> str:
    """A PNG as an HTML picture that shrinks with the page; size: attributes, ending in a space."""
    address = base64.b64encode(png).decode("ascii")
    return (
        f'<img alt="{html.escape(description)}" {size}style="max-width: 100%; height: auto" '
        f'src="data:image/png;base64,{address}">'
    )


def small_png(pixels: Any, quick: bool = False) -> bytes:
    """A PNG of few colors, a third of the file: notebooks live in git.

    Colors of areas and letters stay as they are, or nearly; the many shades along the edges of
    lines, a pixel here and there, take the nearest of them.

    Args:
        pixels: bytes of shape (H, W, 3 or 4).
        quick: in a seventh of the time, with shades that are a little farther off.
    """
    few, how = (256, Image.Quantize.FASTOCTREE) if quick else (96, Image.Quantize.MEDIANCUT)
    image = Image.fromarray(np.asarray(pixels)).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(few, how, dither=Image.Dither.NONE).save(buffer, "png", optimize=not quick)
    return buffer.getvalue()
