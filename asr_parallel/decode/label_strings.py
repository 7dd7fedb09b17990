"""Strings of labels as numbers: the same string has the same number, so that strings are compared at once.

A string is a node of a trie: its last label and the node of the string before it. Node 0 is the empty string.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np

from asr_parallel.record.compiled import njit

EMPTY = 0


class LabelStrings(NamedTuple):
    """Room for N strings; a string that would be one more is given as EMPTY and counted in `used`.

    parent, label, depth: (N,) int32; depth is the length. table: int32, a power of two, at least 2 N: a hash table of
    nodes, -1 where free. used: (1,) int64 nodes; more than N when there was no room.
    """

    parent: np.ndarray
    label: np.ndarray
    depth: np.ndarray
    table: np.ndarray
    used: np.ndarray


def new_label_strings(capacity: int) -> LabelStrings:
    """Return room for `capacity` strings, the empty one among them."""
    slots = 1 << (2 * capacity - 1).bit_length()
    nodes = np.zeros((3, capacity), np.int32)
    return LabelStrings(nodes[0], nodes[1], nodes[2], np.full(slots, -1, np.int32), np.ones(1, np.int64))


@njit()
def forget_strings(strings):
    """Leave only the empty string."""
    strings.table[:] = -1
    strings.used[0] = 1


@njit()
def extended(strings, string, label):
    """Return the string with one more label."""
    mask = len(strings.table) - 1
    mixed = (string * 0x9E3779B1 + label * 0x85EBCA77) & 0xFFFFFFFFFFFF
    slot = (mixed ^ (mixed >> 15)) & mask
    while strings.table[slot] >= 0:
        node = strings.table[slot]
        if strings.parent[node] == string and strings.label[node] == label:
            return node
        slot = (slot + 1) & mask
    node = strings.used[0]
    strings.used[0] += 1
    if node >= len(strings.parent):
        return EMPTY
    strings.parent[node] = string
    strings.label[node] = label
    strings.depth[node] = strings.depth[string] + 1
    strings.table[slot] = node
    return node


@njit()
def common_prefix(strings, one, other):
    """Return the longest string with which both begin."""
    while one != other:
        if strings.depth[one] >= strings.depth[other]:
            one = strings.parent[one]
        else:
            other = strings.parent[other]
    return one


@njit()
def joined(strings, first, second, skipped):
    """Return `first` followed by all labels of `second` but its first `skipped` ones."""
    length = strings.depth[second] - skipped
    if length <= 0:
        return first
    labels = np.empty(length, np.int32)
    for i in range(length - 1, -1, -1):
        labels[i] = strings.label[second]
        second = strings.parent[second]
    for label in labels:
        first = extended(strings, first, label)
    return first


@njit()
def written_out(strings, numbers):
    """Return the labels of N strings one after another, int32, and (N + 1,) int64 where each begins."""
    offsets = np.zeros(len(numbers) + 1, np.int64)
    for i in range(len(numbers)):
        offsets[i + 1] = offsets[i] + strings.depth[numbers[i]]
    labels = np.empty(offsets[-1], np.int32)
    for i in range(len(numbers)):
        node = numbers[i]
        for at in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            labels[at] = strings.label[node]
            node = strings.parent[node]
    return labels, offsets
