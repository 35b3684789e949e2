"""Explorers: sliders beside a picture that follows them, by mouse, by keyboard and by code.

How they are made, so that the picture follows within hundredths of a second and the outputs of a
notebook can be compared: one figure whose ground is drawn once and kept as pixels; a few artists
that are moved and drawn on top; the result as an HTML picture with a description; the numbers as an
HTML status line, which screen readers announce.
"""

import html
import io

import ipywidgets as widgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dartslib import toy
from dartslib.show.pictures import data_address
from dartslib.show.style import BLACK, BLUE, GREY, VERMILION, styled
from dartslib.show.toy import END, FIXED_POINT, START, draw_map, map_view
from dartslib.toy import Trajectory

XI_TO = 1.5
RATES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 0.8)
DPI = 110
# The artists that are kept and moved, path, start, fixed point, end. A full draw leaves them out.
KEPT_ON_MAP = (
    {"color": BLUE, "lw": 2.6},
    START,
    FIXED_POINT | {"mec": VERMILION},
    END | {"color": BLUE},
)
KEPT_AT_ENDS = KEPT_ON_MAP[2:]


def xi_explorer(xi: float = 0.5) -> "XiExplorer":
    """Sliders for xi, learning rate and start of the toy problem; see `XiExplorer`."""
    return XiExplorer(xi)


class XiExplorer(widgets.VBox):
    """The toy problem to play with. Left: the run on the map of L_val. Right: ends of runs over xi.

    Attributes:
        slider: xi, 0 to 1.5. Also to be set by code: `explorer.slider.value = 0.3`.
        lr: learning rate, one of `RATES`.
        start_alpha, start_w: the start, each -3 to 3.
        run: the `Trajectory` shown.
        picture, status: the HTML widgets that hold the picture and the sentence about it.
    """

    def __init__(self, xi: float = 0.5) -> None:
        wide = {"style": {"description_width": "7em"}, "layout": {"width": "26em"}}
        self.slider = widgets.FloatSlider(xi, min=0, max=XI_TO, step=0.05, description="ξ", **wide)
        self.lr = widgets.SelectionSlider(
            options=[(f"{rate:g}", rate) for rate in RATES],
            value=1e-2,
            description="learning rate",
            **wide,
        )
        start_alpha, start_w = toy.START
        self.start_alpha = widgets.FloatSlider(
            start_alpha, min=-3, max=3, step=0.25, description="start α", **wide
        )
        self.start_w = widgets.FloatSlider(
            start_w, min=-3, max=3, step=0.25, description="start w", **wide
        )
        self.picture, self.status = widgets.HTML(), widgets.HTML()
        self._build()
        self._redraw()
        self.slider.observe(lambda change: self._update(), "value")
        for other in (self.lr, self.start_alpha, self.start_w):
            other.observe(lambda change: self._redraw(), "value")
        hint = widgets.HTML("<small>Tab goes to the next slider, the arrow keys move it.</small>")
        rows = [
            widgets.HBox(pair, layout={"flex_flow": "row wrap"})
            for pair in ((self.slider, self.lr), (self.start_alpha, self.start_w))
        ]
        super().__init__([*rows, hint, self.picture, self.status])

    @styled
    def _build(self) -> None:
        """The figure, and on its right the curve of fixed points, which no slider changes."""
        # Fixed margins: fitting them to the letters would take as long as all the drawing.
        figure = Figure(figsize=(9.6, 4.4), dpi=DPI, layout="none")
        self._canvas = FigureCanvasAgg(figure)
        self._palette = _palette(BLUE, VERMILION)
        self._map, self._ends = figure.subplots(1, 2, width_ratios=(1.1, 1))
        figure.subplots_adjust(left=0.065, right=0.985, bottom=0.13, top=0.92, wspace=0.17)
        xi = np.linspace(0, XI_TO, 100)
        self._ends.plot(
            xi, 2 / (1 + toy.CURVATURE * xi), color=VERMILION, label="fixed point 2 / (1 + 2 ξ)"
        )
        self._ends.axhline(1, color=BLACK, ls="--", lw=1.5, label="optimum")
        (self._stops,) = self._ends.plot([], [], ".", color=GREY, label="ends at other ξ")
        self._ends.set(xlim=(-0.05, XI_TO + 0.05), xlabel="ξ", ylabel="α", title="where runs end")
        self._ends_kept = [
            self._ends.plot([], [], animated=True, label=label, **look)[0]
            for look, label in zip(
                KEPT_AT_ENDS, ("fixed point of this ξ", "end of this run"), strict=True
            )
        ]
        self._ends.legend(loc="upper right", fontsize=11)

    def _descend(self, xi: float) -> Trajectory:
        return toy.descend(xi, lr=self.lr.value, start=(self.start_alpha.value, self.start_w.value))

    @styled
    def _redraw(self) -> None:
        """New ground for a new learning rate or start.

        It holds the runs of every xi, so that the slider of xi never changes it.
        """
        runs = [self._descend(xi) for xi in np.linspace(0, XI_TO, 16)]
        ended = [run for run in runs if run.reason != "diverged"]
        view = map_view(ended)
        self._map.clear()
        draw_map(self._map, view)
        self._map.set_title("from the start (■), on the contours of $L_{val}$")
        self._map_kept = [self._map.plot([], [], animated=True, **look)[0] for look in KEPT_ON_MAP]
        self._stops.set_data([run.xi for run in ended], [run.end[0] for run in ended])
        self._ends.set_ylim(view[:2])
        self._canvas.draw()
        self._ground = self._canvas.copy_from_bbox(self._canvas.figure.bbox)
        self._update()

    def _update(self) -> None:
        """Move the kept artists to the run of the present xi, and show the picture."""
        run = self.run = self._descend(self.slider.value)
        rest = toy.fixed_point(run.xi)
        self._map_kept[0].set_data(run.alpha, run.w)
        self._map_kept[1].set_data(run.alpha[:1], run.w[:1])
        self._map_kept[2].set_data([rest], [rest])
        self._map_kept[3].set_data(run.alpha[-1:], run.w[-1:])
        self._ends_kept[0].set_data([run.xi], [rest])
        self._ends_kept[1].set_data([run.xi], run.alpha[-1:])
        self._canvas.restore_region(self._ground)
        for artist in (*self._map_kept, *self._ends_kept):
            artist.axes.draw_artist(artist)
        words = _words(run, self.lr.value)
        self.picture.value = (
            f'<img alt="{html.escape(words)}" style="max-width: 100%; height: auto" '
            f'src="{data_address(self._png())}">'
        )
        self.status.value = f'<span role="status">{html.escape(words)}</span>'

    def _png(self) -> bytes:
        """The canvas as a PNG, made for speed: few colors, the lightest compression."""
        image = Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")
        image = image.quantize(palette=self._palette, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        image.save(buffer, "png", compress_level=1)
        return buffer.getvalue()


def _words(run: Trajectory, lr: float) -> str:
    alpha, w = run.end
    begin = f"ξ = {run.xi:.2f}, learning rate {lr:g}, start ({run.alpha[0]:g}, {run.w[0]:g}): "
    if run.reason == "diverged":
        return begin + f"diverged; after {run.steps} steps α = {alpha:.3g}."
    how = "settled" if run.reason == "settled" else "not yet settled"
    return begin + (
        f"{how} after {run.steps} steps at α = {alpha:.5g}, w = {w:.5g}, {run.distance:.2g} from "
        f"the fixed point {toy.fixed_point(run.xi):.5g}; (α − 1)² = {(alpha - 1) ** 2:.2g} there."
    )


def _palette(*colors: str) -> Image.Image:
    """The colors of a picture: greys, and each color as it fades into white and into light grey.

    It is given because to find the best colors takes longer than all the rest of a picture.
    """
    fade = np.linspace(0, 0.85, 32)[:, None]  # no further: a grey must not turn blue
    ramps = [255 * np.linspace(0, 1, 33)[:, None].repeat(3, axis=1)]  # PIL tells 32 greys apart
    for color in colors:
        full = 255 * np.array(to_rgb(color))
        ramps += [full + fade * (ground - full) for ground in (255.0, 215.0)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate(ramps).round().astype(np.uint8).tobytes())
    return palette
