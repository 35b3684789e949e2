"""Random numbers from a counter: SplitMix64 in integers, the same on every machine for ever.

(numpy and torch may change how their generators turn bits into numbers.)
Source: Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators".
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def words(seed: int, stream: int, count: int, first: int = 0) -> np.ndarray:
    """Words first, first + 1, … of a stream: uint64 (count,). Seed and stream are below 2**32."""
    start = _mix(np.array([(seed << 32) + stream], dtype=np.uint64))
    return _mix(start + np.arange(first, first + count, dtype=np.uint64) * GOLDEN)


def octets(seed: int, stream: int, count: int, first: int = 0) -> np.ndarray:
    """The same stream as bytes: uint8 (count,). `count` and `first` are multiples of 8."""
    return words(seed, stream, count // 8, first // 8).astype("<u8").view(np.uint8)


def below(limit: int | np.ndarray, words: np.ndarray) -> np.ndarray:
    """Numbers from 0 to limit - 1, int64, one per word, with limit <= 2**31.

    The upper half of each word is scaled, so probabilities differ by at most 2**-32.
    """
    scaled = (words >> np.uint64(32)) * np.asarray(limit, dtype=np.uint64)
    return (scaled >> np.uint64(32)).astype(np.int64)


def _mix(z: np.ndarray) -> np.ndarray:
    z = z + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
