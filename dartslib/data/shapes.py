"""shapes10 and shapes100: embedded data sets, for tests and short runs.

An image is one sticker, a shape filled with a texture in two colors, rotated, scaled and placed at
random on clutter. One color is light and one dark, on a ground of middle tones, and which is which
is random: no pixel, and no weighted sum of pixels, says much about the class.

Only integers, tables and random numbers from a counter: every machine draws the same bytes.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dartslib.data import counter

SIZE = 32  # pixels per side
TRAIN, TEST = 10_000, 2_000  # images
CHUNK = 125  # images drawn at a time, so that they fit the cache

CELLS = 64  # cells per side of a sticker's table
FINE = 4  # points per side of a cell
FULL = 128  # in the tables: fully covered, or fully the second color
BORDER = 14  # width of a bordered sticker's border, in points
UNIT = 32  # centers and radii are in 32nds of a pixel
PIECES = 4  # pieces of clutter per image
WORDS = 8 * PIECES + 16  # random words per image

SHAPES = tuple(
    "disk, square, triangle, star, cross, ring, crescent, heart, bar, bow tie".split(", ")
)
TEXTURES = tuple(
    "plain, striped, checked, dotted, latticed, ringed, rayed, halved, shaded, bordered".split(", ")
)
# shapes10: five shapes in two textures, so that neither alone gives the class
FEW_SHAPES = ("disk", "triangle", "star", "cross", "crescent")
FEW_TEXTURES = ("striped", "checked")

# round(2**14 * sin(angle)) for 0, 3, … 90 degrees, as a table, since the last bit of a computed
# sine may differ between machines.
QUARTER = [
    *(0, 857, 1713, 2563, 3406, 4240, 5063, 5872, 6664, 7438),
    *(8192, 8923, 9630, 10311, 10963, 11585, 12176, 12733, 13255, 13741),
    *(14189, 14598, 14968, 15296, 15582, 15826, 16026, 16182, 16294, 16362),
    16384,
]
ANGLES = 120  # of 3 degrees
HALF = np.array([*QUARTER[:-1], *QUARTER[:0:-1]], dtype=np.int64)
SINE = np.concatenate([HALF, -HALF])
COSINE = np.roll(SINE, -ANGLES // 4)


def draw(
    name: str, train: int = TRAIN, test: int = TEST
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draws shapes10 or shapes100, all classes equally often.

    Args:
        name: shapes10 or shapes100; a ValueError otherwise.
        train, test: numbers of images.

    Returns:
        x_train uint8 (train, 32, 32, 3), y_train int64 (train,), x_test, y_test, class_names.
    """
    kinds = np.array(_kinds(name))  # (classes, 2)
    tables = stickers()
    count = train + test
    labels = np.arange(count, dtype=np.int64) % len(kinds)
    images = np.empty((count, 3, SIZE, SIZE), dtype=np.uint8)
    for first in range(0, count, CHUNK):
        shape, texture = kinds[labels[first : first + CHUNK]].T
        images[first : first + CHUNK] = _scenes(tables, shape, texture, len(kinds), first)
    images = images.transpose(0, 2, 3, 1)
    names = tuple(f"{TEXTURES[t]} {SHAPES[s]}" for s, t in kinds)  # such as "striped disk"
    return images[:train], labels[:train], images[train:], labels[train:], names


def stickers() -> np.ndarray:
    """All stickers as tables: int16 (2, shapes, textures, 64, 64), from 0 to FULL.

    The first says how much of a cell is covered, the second how much of it has the second color. A
    table spans -1 to 1 in both directions; its edges are softened over about one image pixel.
    """
    points = CELLS * FINE
    axis = 2 * np.arange(points, dtype=np.int64) - (points - 1)  # odd numbers, -255 … 255
    x, y = axis[None, :], axis[:, None]
    tables = np.zeros((2, len(SHAPES), len(TEXTURES), CELLS, CELLS), dtype=np.int16)
    for s, mask in enumerate(_masks(x, y)):
        tables[0, s] = _soften(mask * FULL)
        for t, second in enumerate(_fillings(x, y, mask)):
            tables[1, s, t] = _soften(second if second.dtype != bool else second * FULL)
    return tables


def _kinds(name: str) -> list[tuple[int, int]]:
    """(shape, texture) of each class."""
    if name == "shapes100":
        return [(s, t) for s in range(len(SHAPES)) for t in range(len(TEXTURES))]
    if name == "shapes10":
        return [(SHAPES.index(s), TEXTURES.index(t)) for s in FEW_SHAPES for t in FEW_TEXTURES]
    raise ValueError(f"There are no shapes {name!r}: draw shapes10 or shapes100.")


def _masks(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Which points are in each of SHAPES: bool (256, 256). x, y: 256ths of half a side, y down."""
    square = x * x + y * y
    low, high = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    u, v = x * 3, (20 - y) * 3
    return [
        square < 225**2,  # disk
        high < 185,  # square
        np.all([_beyond(a, x, y) < 120 for a in (90, 210, 330)], axis=0),  # triangle
        # star: inside at least four of the five lines that draw a pentagram
        np.sum([_beyond(a, x, y) < 72 for a in range(18, 378, 72)], axis=0) >= 4,
        (low < 75) & (high < 225),  # cross
        (square < 240**2) & (square > 115**2),  # ring
        ((x + 15) ** 2 + y * y < 225**2) & ((x - 105) ** 2 + y * y > 175**2),  # crescent
        (u * u + v * v - 608**2) ** 3 < 608 * u * u * v**3,  # heart: (x² + y² - 1)³ < x² y³
        (abs(x) < 240) & (abs(y) < 85),  # bar
        (5 * abs(y) < 4 * abs(x) + 80) & (abs(x) < 225),  # bow tie
    ]


def _beyond(degrees: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far points lie in a direction, in the units of x and y."""
    return x * COSINE[degrees // 3] + y * SINE[degrees // 3] >> 14


def _fillings(x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Where points have the second color in each of TEXTURES: bool, or how much of it, to FULL.

    Each is (256, 256), or broadcasts to that. mask: the points of the shape.
    """
    square = x * x + y * y
    padded, size = np.pad(mask, BORDER), len(mask)
    shifts = [BORDER + (BORDER * wave[::5] >> 14) for wave in (COSINE, SINE)]
    inner = [padded[i : i + size, j : j + size] for i, j in zip(*shifts, strict=True)]
    return [
        x + y < -1000,  # plain
        (x + 32) // 64 % 2 == 1,  # striped
        (x // 85 + y // 85) % 2 == 1,  # checked
        ((x + 64) % 128 - 64) ** 2 + ((y + 64) % 128 - 64) ** 2 < 42**2,  # dotted
        ((x + 17) % 110 < 34) | ((y + 17) % 110 < 34),  # latticed
        np.sum([square >= (r * r) for r in range(40, 400, 55)], axis=0) % 2 == 1,  # ringed
        np.prod([np.sign(_beyond(a, x, y)) for a in (21, 66, 111, 156)], axis=0) > 0,  # rayed
        y > 0,  # halved
        np.clip((x + 220) * FULL // 440, 0, FULL),  # shaded
        ~np.all(inner, axis=0),  # bordered
    ]


def _soften(points: np.ndarray) -> np.ndarray:
    """Means over 3 x 3 cells: (256, 256) points, or what broadcasts to them -> (64, 64) cells."""
    points = np.broadcast_to(points, (CELLS * FINE, CELLS * FINE))
    cells = points.reshape(CELLS, FINE, CELLS, FINE).sum((1, 3), dtype=np.int64)  # (64, 64)
    padded = np.pad(cells, 1, mode="edge")
    around = sliding_window_view(padded, (3, 3)).sum((2, 3))  # (64, 64)
    return (around // (3 * FINE) ** 2).astype(np.int16)


def _scenes(
    tables: np.ndarray, shape: np.ndarray, texture: np.ndarray, seed: int, first: int
) -> np.ndarray:
    """Images number first, first + 1, … of a seed: uint8 (n, 3, 32, 32)."""
    count = len(shape)
    words = counter.words(seed, 0, count * WORDS, first * WORDS).reshape(count, WORDS)
    columns = iter(words.T)

    def between(low, high, many=0) -> np.ndarray:  # (n,) or (n, many); high is included
        if many:
            return np.stack([between(low, high) for _ in range(many)], axis=1)
        return low + counter.below(high - low + 1, next(columns))

    images = _ground(count, seed, first)
    for _ in range(PIECES):
        color = between(40, 210, 3)
        _paste(
            images,
            tables,
            kind=between(0, len(SHAPES) - 1) * len(TEXTURES),  # plain
            center=between(0, SIZE * UNIT, 2),
            radius=between(3 * UNIT, 6 * UNIT),
            angle=between(0, ANGLES - 1),
            colors=(color, color),
            window=14,
        )
    light, dark = between(150, 255, 3), between(0, 90, 3)
    every = np.arange(count)
    light[every, between(0, 2)] = between(40, 255)  # one channel at random: stronger colors
    dark[every, between(0, 2)] = between(0, 130)
    swapped = between(0, 1)[:, None] == 1
    radius = between(10 * UNIT, 14 * UNIT)
    room = (SIZE // 2 + 1) * UNIT - radius  # a sticker sticks out by a pixel at most
    _paste(
        images,
        tables,
        kind=shape * len(TEXTURES) + texture,
        center=SIZE // 2 * UNIT - room[:, None] + between(0, 2 * room, 2),
        radius=radius,
        angle=between(0, ANGLES - 1),
        colors=(np.where(swapped, dark, light), np.where(swapped, light, dark)),
    )
    size = images[0].size
    noise = counter.octets(seed, 1, count * size, first * size).reshape(images.shape)
    images += (noise >> 4).astype(np.int16) - 8
    return np.clip(images, 0, 255).astype(np.uint8)


def _ground(count: int, seed: int, first: int) -> np.ndarray:
    """Clouds of middle tones, from 5 x 5 random values per channel: int16 (n, 3, 32, 32)."""
    octets = counter.octets(seed, 2, count * 80, first * 80).reshape(count, 80).astype(np.int16)
    values = octets[:, :75].reshape(count, 3, 5, 5) * 80 >> 8
    values += 75 + (octets[:, 75:78] >> 2)[:, :, None, None]
    # Bilinear interpolation: first between rows, then between columns.
    at, right = np.divmod(np.arange(SIZE, dtype=np.int16), 8)
    left = 8 - right
    values = values[:, :, at] * left[:, None] + values[:, :, at + 1] * right[:, None]
    return values[..., at] * left + values[..., at + 1] * right >> 6


def _paste(images, tables, *, kind, center, radius, angle, colors, window=SIZE) -> None:
    """Pastes a sticker onto each image, in place.

    Args:
        images: int16 (n, 3, 32, 32).
        tables: from `stickers`.
        kind: which sticker, (n,).
        center, radius: x and y (n, 2), and half the side of the table (n,), in 32nds of a pixel.
        angle: (n,), below ANGLES.
        colors: two arrays (n, 3).
        window: pixels per side, around the center, that the sticker can reach.
    """
    # The pixels of the window, relative to the sticker's center.
    corner = np.clip(center // UNIT - window // 2, 0, SIZE - window)  # (n, 2)
    x, y = (
        (corner[:, i, None] + np.arange(window)) * UNIT + UNIT // 2 - center[:, i, None]
        for i in (0, 1)
    )  # (n, window) each
    # One UNIT along the rotated axes, in cells times 2**14: (n, 1) each
    cosine, sine = (wave[angle, None] * (CELLS // 2) // radius[:, None] for wave in (COSINE, SINE))

    def cell(across: np.ndarray, down: np.ndarray) -> np.ndarray:  # (n, window, window), 0 … 63
        sums = across.astype(np.int32)[:, None, :] + down.astype(np.int32)[:, :, None]
        return np.clip((sums >> 14) + CELLS // 2, 0, CELLS - 1)

    # Which cell of the sticker's table each pixel falls into, as a flat index: (n, window, window)
    index = cell(-sine * x, cosine * y) * CELLS + cell(cosine * x, sine * y)
    index += kind.astype(np.int32)[:, None, None] * CELLS**2
    cover, blend = (np.take(table, index)[:, None] for table in tables)  # (n, 1, window, window)
    low, high = (color.astype(np.int16)[:, :, None, None] for color in colors)
    windows = sliding_window_view(images, (window, window), axis=(2, 3), writeable=True)
    spot = np.arange(len(images)), slice(None), corner[:, 1], corner[:, 0]
    patch = windows[spot]  # (n, 3, window, window)
    # patch + (low + (high - low) * blend - patch) * cover; in place, which takes half the time.
    change = (high - low) * blend
    change >>= 7
    change += low
    change -= patch
    change *= cover
    change >>= 7
    patch += change
    windows[spot] = patch
