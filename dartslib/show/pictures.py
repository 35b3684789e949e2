"""A figure as an HTML picture with a description: to be read by ear, and compared by text."""

import base64
import html
import io
import struct
import sys
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 144  # pixels of the PNG an inch
CSS_PIXELS = 90  # the width on the page, an inch; fewer than the PNG has, for sharp letters
PNG_START = b"\x89PNG\r\n\x1a\n"


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
        return (
            f'<img alt="{html.escape(self.description)}" width="{self.width}" '
            f'style="max-width: 100%; height: auto" src="{data_address(self.png)}">'
        )

    def __repr__(self) -> str:
        return self.description


def picture(figure: Figure | bytes, description: str, width: int | None = None) -> Picture:
    """Make a `Picture` of a matplotlib figure or of the bytes of a PNG.

    Args:
        figure: the figure (closed afterwards, so that it is not shown a second time), or PNG bytes,
            for instance graphviz's `graph.pipe("png")`.
        description: what the picture shows, in words; of a live run only what is drawn, since its
            numbers differ between machines.
        width: on the page, in CSS pixels; the figure's own size if None. Narrower pages shrink it.

    Raises ValueError for an empty description and TypeError for what is neither a figure nor a PNG.
    """
    if not description.strip():
        raise ValueError("A picture needs a description: say in a sentence what it shows.")
    if isinstance(figure, Figure):
        width = width or round(figure.get_figwidth() * CSS_PIXELS)
        png = _png(figure)
    elif isinstance(figure, bytes) and figure.startswith(PNG_START):
        png = figure
        pixels = struct.unpack(">I", png[16:20])[0]  # the header chunk begins with the width
        width = width or round(pixels * CSS_PIXELS / DPI)
    else:
        kind = type(figure).__name__
        raise TypeError(f"picture() takes a matplotlib Figure or the bytes of a PNG, not {kind}.")
    return Picture(png, description, width)


def data_address(png: bytes) -> str:
    """A PNG as the `data:` address of an HTML picture."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(figure: Figure) -> bytes:
    if "matplotlib.pyplot" in sys.modules:  # only then can the figure be open
        sys.modules["matplotlib.pyplot"].close(figure)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # not savefig with its "tight" box: the width is part of the HTML
    return compressed(np.asarray(canvas.buffer_rgba())[..., :3])


def compressed(pixels: np.ndarray) -> bytes:
    """The PNG of (H, W, 3) bytes, with few colors."""
    buffer = io.BytesIO()
    _few_colors(pixels).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _few_colors(pixels: np.ndarray) -> Image.Image:
    """The (H, W, 3) bytes with at most 96 colors: a third of the file, as notebooks live in git.

    The colors of areas and text stay exact; the many shades along the edges of lines, a pixel
    here and there, take the nearest of the colors that PIL finds for the picture.
    """
    height, width, _ = pixels.shape
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, index, count = np.unique(packed, return_inverse=True, return_counts=True)
    kept = found[np.argsort(-count, kind="stable")[:64]]
    shades = Image.fromarray(pixels).quantize(32, Image.Quantize.MEDIANCUT).getpalette()
    palette = np.concatenate([_unpacked(kept), np.array(shades).reshape(-1, 3)])
    nearest = [
        ((palette - colors[:, None]) ** 2).sum(axis=2).argmin(axis=1)
        for colors in np.array_split(_unpacked(found), 1 + len(found) // 4096)
    ]
    image = Image.fromarray(
        np.concatenate(nearest).astype(np.uint8)[index].reshape(height, width), mode="P"
    )
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def _unpacked(colors: np.ndarray) -> np.ndarray:
    """(N,) packed colors as (N, 3) red, green, blue."""
    return np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(int)
