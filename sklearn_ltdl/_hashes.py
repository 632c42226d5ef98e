"""Hashes of row numbers, which draw rows alike in every order of reading and on every machine."""

import numpy as np


def splitmix64(numbers):
    """Return the hashes of an array of uint64, of which no two are equal.

    Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators".
    """
    with np.errstate(over="ignore"):  # of a single number
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hashes_of(rows, key=0):
    """Return the hashes of an array of row numbers, for the key 0 the outputs of the generator that begins at 0."""
    return splitmix64(rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(key))
