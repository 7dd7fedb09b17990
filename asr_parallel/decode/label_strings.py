"""Strings of labels that grow at the end and share their beginnings.

A string is the number of a node: its last label, and the node of the string before it. Node 0 is the empty string. The
same string may have several nodes, but only one key: a polynomial hash modulo 2^64, from which the key of a string
without its beginning follows at once. Strings with one key count as equal. Different strings with one key have a
structure (Thue-Morse sequences of 1,024 labels and more) that no alignment has.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np

from asr_parallel.record.compiled import njit

EMPTY = 0
# Odd 64-bit constants of Steele et al., "Fast splittable pseudorandom number generators" (OOPSLA 2014), as int64
BASE = 0x9E3779B97F4A7C15 - (1 << 64)
MIX = 0xBF58476D1CE4E5B9 - (1 << 64)


class LabelStrings(NamedTuple):
    """Room for N strings. One that finds no room is lost and counted in `used`.

    parent, label, depth: (N,) int32; depth is the length. key: (N,) int64. used: (1,) int64 nodes.
    """

    parent: np.ndarray
    label: np.ndarray
    depth: np.ndarray
    key: np.ndarray
    used: np.ndarray


def new_label_strings(capacity: int) -> LabelStrings:
    """Return room for `capacity` strings, the empty one among them."""
    parent, label, depth = (np.zeros(capacity, np.int32) for _ in range(3))
    return LabelStrings(parent, label, depth, np.zeros(capacity, np.int64), np.ones(1, np.int64))


@njit()
def extended(strings, string, labels, begin, end):
    """Return the string followed by labels[begin:end]."""
    for i in range(begin, end):
        node = strings.used[0]
        strings.used[0] += 1
        if node >= len(strings.parent):
            return EMPTY
        strings.parent[node] = string
        strings.label[node] = labels[i]
        strings.depth[node] = strings.depth[string] + 1
        strings.key[node] = strings.key[string] * BASE + (labels[i] + 1) * MIX
        string = node
    return string


@njit()
def powers_of_base(longest):
    """Return (longest + 1,) int64 powers of the base of the keys."""
    powers = np.ones(longest + 1, np.int64)
    for i in range(longest):
        powers[i + 1] = powers[i] * BASE
    return powers


@njit()
def key_after(strings, powers, string, beginning):
    """Return the key of a string without `beginning`, with which it must begin."""
    return strings.key[string] - strings.key[beginning] * powers[strings.depth[string] - strings.depth[beginning]]


@njit()
def common_beginning(strings, one, other, least):
    """Return the longest string with which both begin; they have at least `least` labels in common."""
    while strings.depth[one] > strings.depth[other]:
        one = strings.parent[one]
    while strings.depth[other] > strings.depth[one]:
        other = strings.parent[other]
    while strings.depth[one] > least and strings.key[one] != strings.key[other]:
        one, other = strings.parent[one], strings.parent[other]
    return one


@njit()
def written_out(strings, numbers, skipped):
    """Return the labels of N strings without the first `skipped` of each, and (N + 1,) int64 where each begins."""
    offsets = np.zeros(len(numbers) + 1, np.int64)
    for i in range(len(numbers)):
        offsets[i + 1] = offsets[i] + strings.depth[numbers[i]] - skipped[i]
    labels = np.empty(offsets[-1], np.int32)
    for i in range(len(numbers)):
        node = numbers[i]
        for at in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            labels[at] = strings.label[node]
            node = strings.parent[node]
    return labels, offsets
