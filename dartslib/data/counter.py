"""Random numbers from a counter: SplitMix64 in whole numbers, so that every machine draws the same.

numpy and torch may change how their generators turn bits into numbers; this cannot.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15


def words(seed: int, stream: int, count: int, first: int = 0) -> np.ndarray:
    """(count,) uint64: words of a stream of a seed, from number first on (SplitMix64, Steele et al. 2014).

    seed, stream: from 0, below 2**32.
    """
    start = _mix(np.array([(seed << 32) + stream], dtype=np.uint64))
    steps = np.arange(first, first + count, dtype=np.uint64)
    return _mix(start + steps * np.uint64(GOLDEN))


def below(limit, words: np.ndarray) -> np.ndarray:
    """int64 from 0 to limit - 1 (limit a number or an array, at most 2**31), from the upper half of each word."""
    return ((words >> np.uint64(32)) * np.asarray(limit, dtype=np.uint64) >> np.uint64(32)).astype(
        np.int64
    )


def octets(seed: int, stream: int, count: int, first: int = 0) -> np.ndarray:
    """(count,) uint8: eight from each word.  first, count: multiples of 8."""
    return words(seed, stream, count // 8, first // 8).astype("<u8").view(np.uint8)


def _mix(z: np.ndarray) -> np.ndarray:
    z = z + np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
