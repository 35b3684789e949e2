"""What all explorers are: controls beside a picture that follows, by mouse, keyboard and code.

How it follows within hundredths of a second, and its notebook's outputs can be compared: one figure
whose ground is drawn once and kept as pixels; a few artists that are moved and drawn on top; the
result as an HTML picture with a description; the numbers as an HTML status line, which screen
readers announce. The explorers themselves stand in files of their own, one per notebook.
"""

import asyncio
import html
from collections.abc import Iterable, Sequence
from typing import Any

import ipywidgets as widgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dartslib.show.pictures import CSS_PIXELS, Picture, image_tag, small_png
from dartslib.show.style import WIDTH, styled

WIDE = {"style": {"description_width": "7em"}, "layout": {"width": "26em"}}
HINT = "Tab goes to the next control, arrow keys move a slider, the space bar opens a menu."


class Explorer(widgets.VBox):
    """Controls above one picture and the sentence that says what it shows.

    A subclass has three methods: `_ground` draws what does not move and makes the `moving` artists,
    `_move` sets these to what the controls say, `_words` says it in a sentence.

    Args:
        height: of the figure, in inches. It has no automatic layout, which would take as long as
            all the drawing.
        rows: the controls, those of a row beside each other where the page is wide enough.
        moves: controls whose value moves what moves.
        changes: controls whose value changes the ground, so that all is drawn anew.

    Attributes:
        moving: the artists that move, drawn in this order; all `animated`, so that a full draw
            leaves them out.
        picture, status: the HTML widgets that hold the picture and the sentence.
    """

    def __init__(
        self,
        height: float,
        rows: Iterable[Sequence[widgets.Widget]],
        moves: Iterable[widgets.Widget] = (),
        changes: Iterable[widgets.Widget] = (),
    ) -> None:
        self.figure, self.moving = Figure(figsize=(WIDTH, height), dpi=110, layout="none"), []
        self._canvas = FigureCanvasAgg(self.figure)
        self.picture, self.status = widgets.HTML(), widgets.HTML()
        hint = widgets.HTML(f"<small>{HINT}</small>")
        boxes = [widgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]
        super().__init__([*boxes, hint, self.picture, self.status])
        self.redraw()
        for control in moves:
            control.observe(self.update, "value")
        for control in changes:
            control.observe(self.redraw, "value")

    @styled
    def redraw(self, *_: Any) -> None:
        """The whole picture, after something of the ground has changed. Takes a change, too."""
        self._ground()
        self._canvas.draw()
        self._pixels = self._canvas.copy_from_bbox(self.figure.bbox)
        self.update()

    @styled
    def update(self, *_: Any) -> None:
        """Only what moves, on the ground as it is. Takes a widget's change, too."""
        self._move()
        self._canvas.restore_region(self._pixels)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        words = self._words()
        self.picture.value = image_tag(self._png(), words)
        self.status.value = f'<span role="status">{html.escape(words)}</span>'

    def _png(self) -> bytes:
        return small_png(self._canvas.buffer_rgba(), quick=True)

    def still(self, what: str) -> Picture:
        """What the explorer shows at present, for a page without a kernel.

        Args:
            what: a sentence that says what is drawn; the explorer's own comes after it.
        """
        return Picture(self._png(), f"{what} {self._words()}", round(WIDTH * CSS_PIXELS))


def slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """A slider that says what it moves."""
    return widgets.FloatSlider(value, min=low, max=high, step=step, description=name, **WIDE)


def buttons(name: str, options: Sequence, width: str = "7em") -> widgets.ToggleButtons:
    """Buttons side by side, so wide each, of which one is pressed."""
    return widgets.ToggleButtons(options=options, description=name, style={"button_width": width})


class Player(widgets.ToggleButton):
    """A button that plays and pauses a control; at its end the control begins anew.

    ipywidgets has one, whose buttons have no names that a screen reader could say. This one moves
    the control from the kernel, and needs its event loop, which every notebook has.

    Args:
        moved: the control; its value goes from 0 to `last`.
        last: the end.
        step: how far at once.
        interval: seconds between two steps.
    """

    def __init__(
        self, moved: widgets.Widget, last: int, step: int = 1, interval: float = 0.2
    ) -> None:
        super().__init__(description="play", icon="play", layout={"width": "6em"})
        self.tooltip = f"play or pause: {moved.description}"
        self.moved, self.last, self.step, self.interval = moved, last, step, interval
        self.observe(self._toggled, "value")

    def _toggled(self, _: dict) -> None:
        self.description = self.icon = "pause" if self.value else "play"
        if self.value:
            self._playing = asyncio.get_running_loop().create_task(self._play())
        else:
            self._playing.cancel()

    async def _play(self) -> None:
        there = -1
        while there < self.last:
            now = self.moved.value
            self.moved.value = there = 0 if now >= self.last else min(self.last, now + self.step)
            await asyncio.sleep(self.interval)
        self.value = False
