"""The planted problem: a tiny data set on which, by construction, one operation is needed.

A 16 x 16 gray image shows three pairs of dots, 6 pixels apart, on noise. The class is whether the
dots of a pair lie side by side or one above the other. Pairs wrap around the edges, so that every
place is equally likely for a dot, and single dots say nothing about the class. Only an operation
that sees both dots of a pair before a ReLU can tell: with a stem that reaches 1 pixel, that is
sep_conv_5x5. The test of the whole search is whether `planted_search` finds it.
"""

import numpy as np
import torch

from dartslib.data import counter
from dartslib.data.batches import Batches, Subset
from dartslib.searching import Search, SearchConfig

SIZE = 16  # pixels per side
PAIRS = 3
APART = 6  # pixels from one dot of a pair to the other
NOISE = 0.1  # standard deviation; a dot has the value 1

CLASS_NAMES = ("horizontal", "vertical")

# A value v is stored as the byte 50 + 100 v; normalizing batches with these numbers undoes it.
MEAN, STD = (50 / 255,), (100 / 255,)

# One normal cell with one node has two edges, which both read the stem: either may win. Small
# batches and large steps, so that a search takes seconds.
_SIZES = {"nodes": 1, "layers": 1, "reductions": (), "channels": 8, "head": "linear", "half": 1152}
_STEPS = {"epochs": 2, "batch_size": 16, "w_lr": 0.4, "alpha_lr": 0.05, "records": 40}
SEARCH = SearchConfig(dataset="planted", **_SIZES, **_STEPS)
NEEDED = "sep_conv_5x5"


def planted(images: int, seed: int = 0) -> Subset:
    """Images of the planted problem, uint8 (images, 1, 16, 16), half of them of each class.

    The bytes are 50 for ground, 150 for a dot, and noise (a sum of four uniform numbers) of 10;
    `planted_batches` turns them into 0, 1 and 0.1. Class 0 is horizontal, 1 is vertical.
    """
    labels = np.arange(images, dtype=np.int64) % 2
    places = counter.below(SIZE, counter.words(seed, 0, images * PAIRS * 2))
    rows, columns = places.reshape(images, PAIRS, 2).transpose(2, 0, 1)  # (images, PAIRS) each
    vertical, image = labels[:, None], np.arange(images)[:, None]
    dots = np.zeros((images, SIZE, SIZE), dtype=bool)
    dots[image, rows, columns] = True
    dots[image, (rows + APART * vertical) % SIZE, (columns + APART * (1 - vertical)) % SIZE] = True
    sums = counter.octets(seed, 1, dots.size * 4).reshape(*dots.shape, 4).sum(-1, dtype=np.int64)
    noise = (sums - 510) * (100 * NOISE) / 147.8  # a sum of four bytes has the std 147.8
    pixels = np.rint(50 + 100 * dots + noise).astype(np.uint8)
    return Subset(torch.from_numpy(pixels[:, None]), torch.from_numpy(labels), f"planted {seed}")


def planted_batches(subset: Subset, batch_size: int, **options) -> Batches:
    """`Batches` of the planted problem: neither cropped nor mirrored, a dot has the value 1."""
    built = {"mean": MEAN, "std": STD, "crop": 0, "flip": False}
    return Batches(subset, batch_size, **(built | options))


def planted_search(config: SearchConfig = SEARCH) -> Search:
    """A search on the planted problem; each seed has its own images: `SEARCH.changed(seed=1)`."""
    seeds = [(3 * config.seed + number) % 2**32 for number in (0, 1)]
    halves = (planted(config.half, seed) for seed in seeds)
    batches = (planted_batches(half, config.batch_size, seed=config.seed) for half in halves)
    return Search(config, *batches, num_classes=2, in_channels=1, image_size=SIZE)


def planted_accuracy(search: Search, subset: Subset | None = None) -> float:
    """The supernet's accuracy (a fraction) in evaluation mode, with its present probabilities.

    Args:
        search: from `planted_search`.
        subset: images to judge on; None for 2,048 that the search has not seen.
    """
    if subset is None:
        subset = planted(2048, 3 * search.config.seed + 2)
    images, labels = planted_batches(subset, len(subset), shuffle=False).at(0)
    was_training = search.supernet.training
    search.supernet.eval()
    with torch.no_grad():
        mixture = search.architecture.mixture(moment=search.moment)
        scores = search.supernet(images, mixture, search.moment)  # (N, 2)
    search.supernet.train(was_training)
    return float((scores.argmax(dim=1) == labels).double().mean())
