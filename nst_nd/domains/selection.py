"""Percentiles of arrays of any size: what np.percentile gives, without a sorted copy where that would be large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch

# bits of a value that are told apart in one pass over the data
_DIGIT = 16


def percentiles(data: NDArray[np.floating[Any]], shares: Sequence[float]) -> NDArray[np.float64]:
    """[len(shares)]: what these shares, in percent, of finite data [C, *space] lie below, all channels together."""
    if data.nbytes < scratch.LARGE:
        return np.asarray(np.percentile(data, shares), np.float64)
    places = (data.size - 1) * (np.asarray(shares, np.float64) / 100.0)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, data.size - 1)
    found = _sorted_at(data, sorted({*below.tolist(), *above.tolist()}))
    low, high = (np.array([found[rank] for rank in ranks.tolist()], data.dtype) for ranks in (below, above))
    share, step = places - below, high - low
    # as np.percentile does it, to the last bit
    between: NDArray[np.float64] = np.where(share < 0.5, low + step * share, high - step * (1.0 - share))
    return between


def _sorted_at(data: NDArray[np.floating[Any]], ranks: Sequence[int]) -> dict[int, Any]:
    """The values at these places of the sorted data, by radix selection (Knuth, TAOCP 3, 5.2.5), 16 bits a pass."""
    bits = 8 * data.itemsize
    unsigned = np.dtype(f"u{data.itemsize}")
    # per rank: the leading digits of its value so far, and its place among the values that start with them
    known = {rank: (0, rank) for rank in ranks}
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        counts = _digit_counts(data, {prefix for prefix, _ in known.values()}, shift)
        for rank, (prefix, place) in known.items():
            upto = np.cumsum(counts[prefix])
            digit = int(np.searchsorted(upto, place, side="right"))
            known[rank] = (prefix << _DIGIT | digit, place - (int(upto[digit - 1]) if digit else 0))
    return {rank: _value(unsigned.type(key), data.dtype) for rank, (key, _) in known.items()}


def _digit_counts(data: NDArray[Any], prefixes: set[int], shift: int) -> dict[int, NDArray[np.int64]]:
    """How often each digit follows each of these leading digits."""
    counts = {prefix: np.zeros(1 << _DIGIT, np.int64) for prefix in prefixes}
    whole = shift + _DIGIT == 8 * data.itemsize
    for keys in _keys(data):
        for prefix, count in counts.items():
            of_these = keys if whole else keys[keys >> np.uint8(shift + _DIGIT) == prefix]
            digits = of_these >> np.uint8(shift) & keys.dtype.type((1 << _DIGIT) - 1)
            count += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT)
    return counts


def _keys(data: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Unsigned integers in the same order as the values: sign bit turned, and all others too where it was set."""
    unsigned = np.dtype(f"u{data.itemsize}")
    sign = unsigned.type(1 << (8 * data.itemsize - 1))
    for piece in scratch.chunks(data, 1):
        raw = np.ascontiguousarray(data[:, piece]).reshape(-1).view(unsigned)
        yield np.where(raw & sign, ~raw, raw | sign)
        scratch.release(data)


def _value(key: Any, dtype: np.dtype[Any]) -> Any:
    """The value of a key."""
    sign = key.dtype.type(1 << (8 * key.itemsize - 1))
    return (key ^ sign if key & sign else ~key).view(dtype)
