"""The split of a data set: the images that each step of an experiment may use."""

from dataclasses import dataclass
from numbers import Integral

from dartslib.data.batches import Subset
from dartslib.data.checking import digests
from dartslib.data.sets import DataSet, is_own


@dataclass(frozen=True, eq=False)
class Split:
    """The images that each step of an experiment may use.

    Attributes:
        search_train, search_valid: for w and for alpha, in a search.
        compare_train, compare_valid: to train and to judge cells that are compared.
        final_train: all training images, for the final network.
        test: used once, at the end.
    """

    search_train: Subset
    search_valid: Subset
    compare_train: Subset
    compare_valid: Subset
    final_train: Subset
    test: Subset


def split(dataset: DataSet, half: int | None = None, held_out: float = 0.1) -> Split:
    """Splits a data set by counting, since its images are in hash order.

    Args:
        dataset: what is split.
        half: images per half of a search; None for as many as there are. A smaller half is the
            beginning of a larger one.
        held_out: fraction of the training images that becomes compare_valid; the rest is
            compare_train, from which the halves are taken. With 0 the split is the published one:
            compare_train and compare_valid are the two halves of all training images (25,000 each
            for CIFAR), and the search uses them, or the beginning of each.

    Raises:
        ValueError: a half or a fraction that does not fit.
    """
    images, labels, count = dataset.x_train, dataset.y_train, len(dataset.y_train)
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out must be a fraction from 0 to below 1, not {held_out}.")
    held = round(held_out * count)
    rest = count - held
    largest = rest // 2
    if (held_out > 0 and held == 0) or largest == 0:
        raise ValueError(
            f"held_out={held_out} of {count} training images holds out {held} and leaves {rest}: "
            "choose a fraction that holds out 1 or more and leaves 2 or more, or 0 for none."
        )
    half = largest if half is None else half
    if not isinstance(half, Integral) or not 1 <= half <= largest:
        raise ValueError(
            f"half={half} is not possible: {rest} training images of {dataset.name} are not held "
            f"out, so choose 1 to {largest}."
        )

    def subset(name: str, start: int, stop: int) -> Subset:
        return Subset(images[start:stop], labels[start:stop], name)

    compare_train = (0, rest) if held else (0, largest)
    compare_valid = (rest, count) if held else (largest, 2 * largest)
    return Split(
        subset("search_train", 0, half),
        subset("search_valid", largest, largest + half),
        subset("compare_train", *compare_train),
        subset("compare_valid", *compare_valid),
        final_train=subset("final_train", 0, count),
        test=Subset(dataset.x_test, dataset.y_test, "test"),
    )


def remarks(dataset: DataSet, *used: Subset) -> list[str]:
    """What a user should know of data of their own, one sentence each.

    Args:
        dataset: nothing is said of a published one.
        used: the subsets that a run trains and judges on.
    """
    if not is_own(dataset.name):
        return []
    found, names = [], dataset.class_names
    total = dataset.y_train.bincount(minlength=len(names)).tolist()
    for subset in used:
        counts = subset.labels.bincount(minlength=len(names)).tolist()
        if 0 in counts:
            first, others = counts.index(0), counts.count(0) - 1
            found.append(
                f"Class {names[first]!r}{f' and {others} more' if others else ''} (it has "
                f"{total[first]} of {sum(total)} training images) is not among the {len(subset)} "
                f"images of {subset.name}: give more images of it, or leave it out."
            )
    both = len(set(digests(dataset.x_train.numpy())) & set(digests(dataset.x_test.numpy())))
    if both:
        found.append(
            f"Among the training images are {both} of the test images, byte by byte: take them "
            "out, or the test says too much."
        )
    return found
