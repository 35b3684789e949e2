"""The planted problem: a tiny data set on which, by construction, one operation is needed.

A 16x16 grey image holds three pairs of dots, 6 pixels apart, on noise; the class is whether the pairs lie side by side
or one above the other.  Pairs wrap around the edges, so that every place is equally likely for a dot and single dots
tell nothing.  A pair is told apart only by what brings both dots together before a ReLU: behind a 3x3 stem, which
reaches 1 pixel, sep_conv_5x5 does.
"""

import numpy as np
import torch

from dartslib.data import counter
from dartslib.data.batches import Batches, Part

SIZE = 16  # pixels a side
PAIRS = 3
APART = 6  # pixels from one dot of a pair to the other
NOISE = 0.1  # standard deviation, where a dot has 1

CLASS_NAMES = ("horizontal", "vertical")

# A pixel of the value v is kept as the byte 50 + 100 v.  These undo it when `Batches` normalizes.
MEAN, STD = (50 / 255,), (100 / 255,)

_WORDS = 2 * PAIRS + 2  # an image


def planted(images: int, seed: int = 0) -> Part:
    """Images of the planted problem, a part of their own for each seed; half of them of each class.

    Uint8 (N, 1, 16, 16): dots at 150, ground at 50, noise of 10.  `planted_batches` gives the values 1, 0 and 0.1.
    Class 0 is horizontal, 1 vertical.  The noise is a sum of four uniform numbers.
    """
    if images < 1:
        raise ValueError(f"{images} images are none: ask for 1 or more.")
    labels = np.arange(images) % 2
    words = counter.words(seed, 0, images * _WORDS).reshape(images, _WORDS)
    places = counter.below(SIZE, words)
    dots = np.zeros((images, SIZE, SIZE), dtype=bool)
    for pair in range(PAIRS):
        row, column = places[:, 2 * pair], places[:, 2 * pair + 1]
        dots[np.arange(images), row, column] = True
        row, column = row + APART * (labels == 1), column + APART * (labels == 0)
        dots[np.arange(images), row % SIZE, column % SIZE] = True
    octets = counter.octets(seed, 1, dots.size * 4).reshape(*dots.shape, 4)
    # the sum has a standard deviation of 147.8
    noise = (octets.astype(np.int64).sum(axis=-1) - 510) * round(100 * NOISE) / 147.8
    pixels = np.rint(50 + 100 * dots + noise).astype(np.uint8)
    return Part(torch.from_numpy(pixels[:, None]), torch.from_numpy(labels), f"planted {seed}")


def planted_batches(part: Part, batch_size: int, **options) -> Batches:
    """Batches of the planted problem as it was built: neither cropped nor mirrored, dots of 1, noise of 0.1.

    options: as in `Batches`.
    """
    built = {"mean": MEAN, "std": STD, "crop": 0, "flip": False}
    return Batches(part, batch_size, **(built | options))
