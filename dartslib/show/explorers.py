"""What all explorers are: controls beside a picture that follows, by mouse, keyboard and code.

How it follows within hundredths of a second, and its notebook's outputs can be compared: one figure
whose ground is drawn once and kept as pixels; a few artists that are moved and drawn on top; the
result as an HTML picture with a description; the numbers as an HTML status line, which screen
readers announce. The explorers themselves stand in files of their own, one a notebook.
"""

import asyncio
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dartslib.show.pictures import CSS_PIXELS, Picture, data_address
from dartslib.show.style import styled

DPI = 110
GREYS = 33  # as many as PIL tells apart
WIDE = {"style": {"description_width": "7em"}, "layout": {"width": "26em"}}


class Explorer(widgets.VBox):
    """Controls above one picture and the sentence that says what it shows.

    A subclass makes the figure and its `moving` artists, calls `redraw` when anything else of the
    figure has changed, and has three methods: `ground` draws what does not move, `move` sets the
    moving artists, `words` says it.

    Args:
        figure: without automatic layout, which would take as long as all the drawing.
        colors: of lines and letters; shades: all colors of a heatmap. Other colors come out as the
            nearest of these.
        rows: the controls, those of a row beside each other where the page is wide enough.

    Attributes:
        moving: the artists that move, drawn in this order; all `animated`, so that a full draw
            leaves them out.
        picture, status: the HTML widgets that hold the picture and the sentence.
    """

    def __init__(
        self,
        figure: Figure,
        rows: Iterable[Sequence[widgets.Widget]],
        colors: Sequence[str] = (),
        shades: np.ndarray | None = None,
    ) -> None:
        self.figure, self.moving = figure, []
        self._canvas = FigureCanvasAgg(figure)
        self._palette = _palette(colors, shades)
        self.picture, self.status = widgets.HTML(), widgets.HTML()
        hint = widgets.HTML("<small>Tab goes to the next control, the arrow keys move it.</small>")
        boxes = [widgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]
        super().__init__([*boxes, hint, self.picture, self.status])
        self.redraw()

    def ground(self) -> None:
        """Draws what does not move, and makes the artists that do."""
        raise NotImplementedError

    def move(self) -> None:
        """Sets the moving artists to what the controls say."""
        raise NotImplementedError

    def words(self) -> str:
        """What the picture shows at present, in a sentence."""
        raise NotImplementedError

    def redraw(self, *_: Any) -> None:
        """The whole picture, after something of the ground has changed. Takes a change, too."""
        self._draw_ground()
        self.update()

    @styled
    def _draw_ground(self) -> None:
        self.ground()
        self._canvas.draw()
        self._kept = self._canvas.copy_from_bbox(self.figure.bbox)

    @styled
    def update(self, *_: Any) -> None:
        """Only what moves, on the ground as it is. Takes a widget's change, too."""
        self.move()
        self._canvas.restore_region(self._kept)
        for artist in self.moving:
            if artist.get_visible():
                _axes_or_figure(artist).draw_artist(artist)
        said = html.escape(self.words())
        self.picture.value = (
            f'<img alt="{said}" style="max-width: 100%; height: auto" '
            f'src="{data_address(self._png())}">'
        )
        self.status.value = f'<span role="status">{said}</span>'

    def still(self, what: str) -> Picture:
        """What the explorer shows at present, for a page without a kernel.

        Args:
            what: a sentence that says what is drawn; the explorer's own comes after it.
        """
        width = round(self.figure.get_figwidth() * CSS_PIXELS)
        return Picture(self._png(), f"{what} {self.words()}", width)

    def _png(self) -> bytes:
        """The canvas as a PNG, made for speed: few colors, no harder compression than pays."""
        image = Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")
        image = image.quantize(palette=self._palette, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        image.save(buffer, "png", compress_level=6)
        return buffer.getvalue()


def slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """A slider that says what it moves."""
    return widgets.FloatSlider(value, min=low, max=high, step=step, description=name, **WIDE)


class Player(widgets.ToggleButton):
    """A button that plays and pauses a control; at its end the control begins anew.

    ipywidgets has one, whose buttons have no names that a screen reader could say. This one moves
    the control from the kernel, and needs its event loop, which every notebook has.

    Args:
        moved: the control.
        what: of it that moves from 0 to `last`: its value, or its index.
        last: the end.
        step: how far at once.
        interval: seconds between two steps.
    """

    def __init__(
        self, moved: widgets.Widget, what: str, last: int, step: int, interval: float
    ) -> None:
        super().__init__(description="play", icon="play", layout={"width": "6em"})
        self.tooltip = f"play or pause: {moved.description}"
        self.moved, self.what, self.last, self.step = moved, what, last, step
        self.interval = interval
        self.observe(self._toggled, "value")

    def advance(self) -> bool:
        """One step, or back to 0 from the end; whether there is more to come."""
        now = getattr(self.moved, self.what)
        there = 0 if now >= self.last else min(self.last, now + self.step)
        setattr(self.moved, self.what, there)
        return there < self.last

    def _toggled(self, change: dict) -> None:
        self.description, self.icon = ("pause", "pause") if self.value else ("play", "play")
        if self.value:
            self._playing = asyncio.get_running_loop().create_task(self._play())
        else:
            self._playing.cancel()

    async def _play(self) -> None:
        while self.advance():
            await asyncio.sleep(self.interval)
        self.value = False


def _axes_or_figure(artist: Artist) -> Any:
    return artist.axes if artist.axes is not None else artist.get_figure()


def _palette(colors: Sequence[str], shades: np.ndarray | None) -> Image.Image:
    """The colors of a picture: greys, shades, and each color as it fades into the ground.

    It is given because to find the best colors takes longer than all the rest of a picture.
    """
    rows = [255 * np.linspace(0, 1, GREYS)[:, None].repeat(3, axis=1)]
    if shades is not None:
        rows.append(255 * np.asarray(shades)[:, :3])
    each = min(64, (256 - sum(map(len, rows))) // max(1, len(colors)))
    for color in colors:
        full = 255 * np.array(to_rgb(color))
        # Into white, and, where there is room, into the light grey of a map.
        grounds = (255.0, 215.0) if each >= 40 else (255.0,)
        # No further: a grey must not turn blue.
        fade = np.linspace(0, 0.85, each // len(grounds))[:, None]
        rows += [full + fade * (ground - full) for ground in grounds]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate(rows).round().astype(np.uint8).tobytes())
    return palette
