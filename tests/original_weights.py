"""Weights that depend on the name and shape of an entry alone.

The outputs of the original programs in tests/golden/oriented1d, tests/golden/cvolution
and tests/golden/unireplknet were computed with them.
"""

import re
import zlib
from math import prod

import numpy as np
import torch

_ODD = [
    np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
]


def uniform(name, count):
    """Numbers in [-1, 1): the generator splitmix64, its seed the name's CRC."""
    with np.errstate(over='ignore'):
        seed = np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
        state = (seed + np.arange(1, count + 1, dtype=np.uint64)) * _ODD[0]
        state = (state ^ (state >> np.uint64(30))) * _ODD[1]
        state = (state ^ (state >> np.uint64(27))) * _ODD[2]
        state ^= state >> np.uint64(31)
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1)


def original_weight(name, shape):
    """A value, in float64, of a size that suits the kind of entry."""
    value = uniform(name, prod(shape)).reshape(shape)
    kind = name.rpartition('.')[2]
    if kind == 'num_batches_tracked':
        return torch.zeros(shape, dtype=torch.long)
    if kind == 'running_mean':
        return 0.1 * value
    if kind == 'running_var':
        return 1 + 0.5 * value
    if kind == 'gamma':
        return 0.5 + 0.25 * value
    if kind in ('bias', 'beta'):
        return 0.1 * value
    if kind == 'weight' and len(shape) == 1:  # of a norm
        return 1 + 0.25 * value
    value = value * (3 / (prod(shape[1:]) if kind == 'weight' else 1)) ** 0.5
    # what makes the kernels of an involution
    return value / 3.5 if re.search(r'\bconv2\.(conv|0)\.weight$', name) else value


def original_weights(shapes, given=()):
    """A state dict; entries of ``given`` are taken as they are."""
    given = dict(given)
    return {k: given.get(k, original_weight(k, s)) for k, s in shapes.items()}


def hashed(name, shape):
    """Numbers in [-1, 1) from the name and the place of each (MurmurHash3's mixer).

    Inputs and cotangents of tests/golden/flexconv were made so.
    """
    low = np.uint64(2**32 - 1)
    places = np.arange(prod(shape), dtype=np.uint64)
    state = (
        places * np.uint64(0x9E3779B1) + np.uint64(zlib.crc32(name.encode()))
    ) & low
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state ^= state >> np.uint64(shift)
        state = (state * np.uint64(factor)) & low
    state ^= state >> np.uint64(16)
    return torch.from_numpy(state.astype(np.float64) / 2.0**31 - 1).reshape(shape)
