"""Four drawings for any numbers: lines, points, rows, and a heatmap. Each knows its words.

    show.lines({"Loss": {"ξ = 0": (steps, losses)}}, x="step", y="cross-entropy (nats)")

The first argument is a mapping: title of a panel -> what it shows, series by their label; panels
lie side by side on one scale. Operations and ways to search have their own colors wherever they
are drawn; other labels take the colors in order, the same label the same one in every panel.

The picture's description names title, axes and series. With `numbers=True` it also says the values:
of formulas and records, which are the same on every machine; of live runs leave it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from textwrap import fill
from types import MappingProxyType
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dartslib.show.pictures import Picture, picture
from dartslib.show.style import BLACK, DASHED, KEPT, SHADES, WIDTH, Look, ink, looks, styled

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label -> x, y
NONE: Mapping[str, Any] = MappingProxyType({})
OUTLINE = [effects.withStroke(linewidth=3, foreground="white")]  # of letters over lines
DOTTED = {"color": BLACK, "ls": ":", "lw": 1.8, "zorder": 1}


@styled
def lines(
    panels: Mapping[str, Series],
    *,
    x: str,
    y: str | Sequence[str],
    levels: Mapping[str, float] = NONE,
    uprights: Mapping[str, float] = NONE,
    dashed: Collection[str] = (),
    bands: Mapping[str, Series] = NONE,
    log: str = "",
    percent: bool = False,
    low: float | None = None,
    high: float | None = None,
    bar: tuple[str, float] | None = None,
    numbers: bool = False,
    joined: bool = True,
) -> Picture:
    """Lines over a common axis, a marker every few points.

    Args:
        panels: title -> label -> (xs, ys).
        x: name of the horizontal axis, with its unit.
        y: name of the vertical one, or one per panel, which then have scales of their own.
        levels: label -> height of a dotted line across, such as {"chance": 0.1}.
        uprights: label -> place of an upright dotted line, such as {"the search's": 0.025}.
        dashed: labels of lines to compare with, drawn black and dashed.
        bands: title -> label -> (lower, upper) ends of a shaded band around that line.
        log: "x", "y" or "xy" for logarithmic axes.
        percent: y is a share, shown in percent.
        low, high: ends of the vertical axis; what the values need where None.
        bar: label and length of a bar at the right end, such as the noise of one point, in y's
            unit.
        numbers: the description says where each line ends, or every point.
        joined: False for points alone, as `points` draws them.

    Raises:
        ValueError: nothing to draw, or xs and ys of different lengths.
    """
    labels, said = _labels(panels), []
    names = [y] * len(panels) if isinstance(y, str) else list(y)
    figure = Figure(figsize=(WIDTH, 4.6 + 0.3 * (len(labels) > 1)))
    found = figure.subplots(1, len(panels), squeeze=False, sharey=isinstance(y, str))[0]
    style = looks(labels) | dict.fromkeys(dashed, Look(BLACK, "", DASHED))
    form = "{:.1%}" if percent else "{:.3g}"
    for axes, (title, series), name in zip(found, panels.items(), names, strict=True):
        told, many = [], sum(len(xs) for xs, _ in series.values()) >= 100
        for label, (xs, ys) in series.items():
            if len(xs) != len(ys):
                raise ValueError(f"{label!r} has {len(xs)} x for {len(ys)} y.")
            pen = style[label]
            if ends := bands.get(title, {}).get(label):
                axes.fill_between(xs, *ends, color=pen.color, alpha=0.16, lw=0)
            look = {"ls": "none", "ms": 7 if many else 11}
            if joined:
                look = {"ls": pen.dashes, "ms": 8, "markevery": every(len(xs))}
            axes.plot(xs, ys, label=label, **pen.pen | look)
            values = ", ".join(map(form.format, ys[-1:] if joined else ys))
            told.append(f"{label} {'ends at' if joined else 'at'} {values}" if numbers else label)
        kind = "a line" if joined else "points"
        said.append(f"{title}: {name} over {x}, {kind} for each of: {', '.join(told)}.")
        axes.set(title=title, **{f"{letter}scale": "log" for letter in log})
        if name not in (other.get_ylabel() for other in found):
            axes.set_ylabel(name)
        for label, value in levels.items():
            axes.axhline(value, **DOTTED)
            say(axes, label, (0.02, value), (0, 4), xycoords=("axes fraction", "data"))
        for label, value in uprights.items():
            axes.axvline(value, **DOTTED)
            say(axes, label, (value, 1), (4, -4), xycoords=("data", "axes fraction"), va="top")
        if bar:
            middle, pen = float(np.mean(axes.get_ylim())), {"capsize": 7, "capthick": 2.2}
            pen |= {"color": BLACK, "elinewidth": 2.2, "transform": axes.get_yaxis_transform()}
            axes.errorbar(0.985, middle, yerr=bar[1] / 2, label=bar[0], **pen)
            axes.margins(x=0.09)  # the bar is no point
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        if "x" not in log:
            whole = all(float(v).is_integer() for xs, _ in series.values() for v in xs)
            most = max(3, 10 // len(panels))
            axes.xaxis.set_major_locator(MaxNLocator(most, integer=whole, steps=[1, 2, 5, 10]))
    if (low, high) != (None, None):  # last, since it ends the search for what all panels need
        for axes in found:
            axes.set_ylim(low, high)
    _name_below(found, x)
    legends = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in found]
    handles = {label: handle for legend in legends for handle, label in legend}
    if len(handles) > 1 or bar:
        columns = max(1, min(len(handles), 110 // (8 + max(map(len, handles)))))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
    said += [f"Dotted: {', '.join([*levels, *uprights])}."] if levels or uprights else []
    said += [f"A bar shows {bar[0]}."] if bar else []
    shaded = dict.fromkeys(label for inside in bands.values() for label in inside)
    said += [f"A band around: {', '.join(shaded)}."] if shaded else []
    return picture(figure, " ".join(said))


def points(
    panels: Mapping[str, Series], *, x: str, y: str | Sequence[str], **options: Any
) -> Picture:
    """Points over a common axis, with all options of `lines`."""
    return lines(panels, x=x, y=y, joined=False, **options)


@styled
def rows(
    panels: Mapping[str, Mapping[str, float | Sequence[float]]],
    *,
    x: str,
    reach: Mapping[str, Mapping[str, float]] = NONE,
    levels: Mapping[str, float] = NONE,
    bars: bool = False,
    percent: bool = False,
    shared: bool = False,
    form: str | None = None,
    numbers: bool = False,
) -> Picture:
    """One row per label: a value with its number beside it, or several and their mean.

    Args:
        panels: title -> label -> a value, or values that differ in the seed: each a point, their
            mean an upright stroke. Every panel has the rows of all.
        x: name of the horizontal axis, with its unit.
        reach: title -> label -> how far an error bar goes to either side of the (mean) value.
        levels: label -> place of an upright dotted line, such as {"chance": 0.1}.
        bars: draw bars that begin at zero, for costs and other amounts.
        percent: values are shares, shown in percent.
        shared: all panels have one scale.
        form: how a number is written, such as "{:+.2f}".
        numbers: the description says the values.

    Raises:
        ValueError: nothing to draw.
    """
    labels = _labels(panels)
    form = form or ("{:.1%}" if percent else "{:.3g}")
    figure = Figure(figsize=(WIDTH, 1.7 + 0.52 * len(labels)))
    found = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    style, said, letters = looks(labels), [], 6
    for axes, (title, row) in zip(found, panels.items(), strict=True):
        told, numbered = [], []  # (text, end of what is drawn, place)
        for label, given in row.items():
            values, pen = np.atleast_1d(np.asarray(given, float)), style[label]
            place, several = labels.index(label), len(values) > 1
            mean, wide = values.mean(), reach.get(title, {}).get(label)
            text = ("mean " if several else "") + form.format(mean)
            if bars:
                axes.barh(place, mean, height=0.62, fc=pen.color, ec=BLACK, lw=1, alpha=0.55)
            elif several:
                axes.plot([mean] * 2, [place - 0.3, place + 0.3], color=BLACK, lw=2.4, zorder=2)
            if wide is not None:
                text += f" ± {form.format(wide).lstrip('+')}"
                caps = {"capsize": 8, "elinewidth": 2.2, "capthick": 2.2}
                axes.errorbar(mean, place, xerr=wide, color=pen.color, **caps)
            if several or not bars:
                look = {"color": pen.color, "mec": "white", "ms": 10, "zorder": 3}
                axes.plot(values, place + _apart(values), pen.marker or "o", **look)
            numbered.append((text, max(values.max(), mean + (wide or 0)), place))
            each = f" ({', '.join(map(form.format, values))})" if several else ""
            told.append(f"{label} {text}{each}" if numbers else label)
        far = max((end for _, end, _ in numbered), default=0.0)
        for text, end, place in numbered:
            at = far if title in reach else end  # beside error bars in a column, clear of zero
            say(axes, text, (at, place), (9, 0), va="center")
            letters = max(letters, len(text))
        for label, value in levels.items():
            axes.axvline(value, **DOTTED)
            say(axes, label, (value, 1), (3, 2), xycoords=("data", "axes fraction"))
        axes.set_title(title, pad=18 if levels else 6)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(visible=False, axis="y")
        said.append(f"{title}: {x}, a row for each of: {', '.join(told)}.")
    ends = [axes.get_xlim() for axes in found]
    if shared:
        ends = [(min(left for left, _ in ends), max(right for _, right in ends))] * len(ends)
    for axes, (left, right) in zip(found, ends, strict=True):
        left, wide = 0 if bars else left, (0.06 + 0.02 * letters * len(panels)) * (right - left)
        axes.set_xlim(left, right + wide)  # room for the numbers, without ticks
        ticks = MaxNLocator(6 if len(panels) == 1 else 4, steps=[1, 2, 5, 10])
        axes.set_xticks([x for x in ticks.tick_values(left, right) if left <= x <= right])
    found[0].set(yticks=range(len(labels)), yticklabels=labels)
    _name_below(found, x)
    said += [f"Dotted: {', '.join(levels)}."] if levels else []
    return picture(figure, " ".join(said))


@styled
def heatmap(
    panels: Mapping[str, Any],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x: str = "",
    y: str = "",
    color: str,
    low: float = 0.0,
    top: float | None = None,
    form: str = "{:.2f}",
    outlined: Mapping[str, Any] = NONE,
    outline: str = "",
    across: int | None = None,
    parted: Sequence[int] = (),
    numbers: bool = False,
) -> Picture:
    """Tables as colors, with the number in each field.

    Args:
        panels: title -> (rows, columns) values.
        rows, columns: their names.
        x, y: what columns and rows are.
        color: what the values are, with their unit.
        low: the value of the lightest color.
        top: that of the darkest; the largest of all panels where None.
        form: how a number is written; below 1 it goes without its zero, for room.
        outlined: title -> (rows, columns) booleans: which fields get a frame.
        outline: what a frame means.
        across: how many panels lie side by side; all where None.
        parted: columns before which a line is drawn.
        numbers: the description says the largest value of each row.

    Raises:
        ValueError: nothing to draw, or a table of another shape than its names.
    """
    import seaborn as sns  # loads pandas, which no other drawing needs

    _labels(panels)
    tables = {title: np.asarray(table, float) for title, table in panels.items()}
    for title, table in tables.items():
        if table.shape != (len(rows), len(columns)):
            raise ValueError(f"{title!r} is {table.shape}, its names {len(rows)} x {len(columns)}.")
    values = np.stack(list(tables.values()))  # (panels, rows, columns)
    top = np.nanmax(values) if top is None else top
    across = across or len(panels)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(WIDTH, (0.36 * len(rows) + 1.0) * down + 0.9))
    found = figure.subplots(down, across, squeeze=False).ravel()[: len(panels)]
    look = {"cmap": SHADES, "vmin": low, "vmax": top, "linewidths": 0.5, "linecolor": "white"}
    look |= {"cbar": False, "fmt": "", "annot_kws": {"size": 12}, "xticklabels": list(columns)}
    for place, (axes, (title, table)) in enumerate(zip(found, tables.items(), strict=True)):
        texts = np.vectorize(lambda v: re.sub(r"\b0\.", ".", form.format(v)))(table)
        names = [] if place % across else list(rows)
        sns.heatmap(table, ax=axes, annot=texts, yticklabels=names, **look)
        for text, shade in zip(axes.texts, axes.collections[0].to_rgba(table.ravel()), strict=True):
            text.set_color(ink(shade))  # seaborn turns white too early
        for column in parted:
            axes.axvline(column, color="white", lw=7)
            axes.axvline(column, color=BLACK, lw=1)
        for field in zip(*np.nonzero(outlined.get(title, ())), strict=True):
            for edge, width in (("white", 5.5), (KEPT, 3)):
                frame = Rectangle(field[::-1], 1, 1, fill=False, ec=edge, lw=width, clip_on=False)
                axes.add_patch(frame).set_zorder(3)
        axes.set_title(title, loc="left")
        last, first = place >= len(panels) - across, place % across == 0
        axes.set(xlabel=x if last else "", ylabel=y if first else "")
        axes.tick_params(length=0, labelsize=12, rotation=0)
    below, above = np.nanmin(values) < low, np.nanmax(values) > top
    more = "both" if below and above else "min" if below else "max" if above else "neither"
    shades, place = found[0].collections[0], {"pad": 0.015, "aspect": 50, "fraction": 0.06}
    bar = figure.colorbar(shades, ax=list(found), extend=more, **place)
    bar.set_label(color)
    if all(v.is_integer() for v in values.ravel()):
        bar.locator = MaxNLocator(integer=True)
    size = f"{len(rows)} rows by {len(columns)} columns"
    said = [f"Heatmap of {color}, {size}, for each of: {'; '.join(tables)}."]
    for title, table in tables.items() if numbers else ():
        best = ", ".join(
            f"{row} {form.format(np.nanmax(line))} ({columns[int(np.nanargmax(line))]})"
            for row, line in zip(rows, table, strict=True)
        )
        said.append(f"{title}: largest per row: {best}.")
    if outlined:
        handle = Rectangle((0, 0), 1, 1, fill=False, ec=KEPT, lw=3)
        figure.legend([handle], [outline], loc="outside lower right")
        said.append(f"Outlined: {outline}.")
    return picture(figure, " ".join(said))


def every(records: int, count: int = 6) -> int:
    """Distance of markers: about so many on a line of so many points."""
    return max(1, (records - 1) // (count - 1) if records > count else 1)


def say(axes: Axes, text: str, at: tuple, by: tuple[float, float], **place: Any) -> None:
    """A note at a place and so many points beside it, readable over lines."""
    look = {"textcoords": "offset points", "size": 12, "path_effects": OUTLINE, "zorder": 5}
    axes.annotate(text, at, by, **look | place)


def _name_below(found: Sequence[Axes], name: str) -> None:
    """Names the horizontal axes, in two lines where a panel is too narrow for one."""
    for axes in found:
        axes.set_xlabel(name)
    if len(found) > 1:
        figure = found[0].figure
        figure.get_layout_engine().execute(figure)  # only now do the panels have their widths
        if found[0].xaxis.label.get_window_extent().width > min(a.bbox.width for a in found):
            for axes in found:
                axes.set_xlabel(fill(name, len(name) // 2 + 5))


def _labels(panels: Mapping[str, Any]) -> list[str]:
    """All labels in the order in which they come; ValueError where there is nothing to draw."""
    inside = [series for series in panels.values() if isinstance(series, Mapping)]
    found = list(dict.fromkeys(label for series in inside for label in series))
    if not panels or (inside and not found):
        raise ValueError("There is nothing to draw: give title -> label -> values.")
    return found


def _apart(values: np.ndarray) -> np.ndarray:
    """How far below its row each point goes, so that equal ones do not hide one another.

    Ten equal ones still leave room for those of the next row.
    """
    empty, found = np.isnan(values), []
    for k, value in enumerate(values):
        same = np.flatnonzero(empty if np.isnan(value) else values == value)
        step = min(0.2, 0.6 / max(1, len(same) - 1))
        found.append(step * (list(same).index(k) - (len(same) - 1) / 2))
    return np.array(found)
