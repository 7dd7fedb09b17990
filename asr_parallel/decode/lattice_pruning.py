"""The tokens and links of the search, and their pruning: which tokens and links lie on a path within the lattice beam.

A token is a graph state reached after t frames at a cost; a link is an arc between two tokens. Both lie in two growing
arrays in the order of frames: frame t's tokens are tokens[token_begin[t]:token_begin[t + 1]], and
links[link_begin[t]:link_begin[t + 1]] are those that leave them: up to epsilon_end[t] the epsilon links, which stay in
the frame, then the emitting ones, which enter frame t + 1.

A token's extra cost is the cost of the best path through it minus that of the best path, as far as is known: 0 on
the current last frame, infinite for a pruned token.
(Kaldi: PruneActiveTokens in decoder/lattice-faster-decoder.cc)
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.record.compiled import njit

TOKEN = np.dtype([("state", "<i4"), ("cost", "<f8"), ("extra_cost", "<f8")])
LINK = np.dtype(
    [
        ("source", "<i4"),
        ("target", "<i4"),
        ("ilabel", "<i4"),
        ("olabel", "<i4"),
        ("graph_cost", "<f4"),
        ("acoustic_cost", "<f4"),
    ]
)


@njit()
def _link_extra(tokens, link, acwt):
    """Return the extra cost of `link`: best path through it minus best path."""
    step = link.graph_cost + acwt * link.acoustic_cost
    return tokens[link.target].extra_cost + (tokens[link.source].cost + step - tokens[link.target].cost)


@njit()
def prune_frame(tokens, begin, end, links, link_begin, epsilon_end, link_end, acwt, lattice_beam, last):
    """Update the extra costs of one frame's tokens and set target -1 in links outside the lattice beam.

    For the last frame (`last`) start from the tokens' own extra costs, else from the emitting links.
    Returns the greatest change of an extra cost.
    """
    before = np.empty(end - begin, np.float64)
    for i in range(begin, end):
        before[i - begin] = tokens[i].extra_cost
        if not last:
            tokens[i].extra_cost = np.inf
    for j in range(epsilon_end, link_end):
        extra = _link_extra(tokens, links[j], acwt)
        if extra > lattice_beam:
            links[j].target = -1
        elif extra < tokens[links[j].source].extra_cost:
            tokens[links[j].source].extra_cost = extra
    changed = True
    while changed:  # epsilon chains within the frame: links were made roughly in the order of paths, so go backwards
        changed = False
        for j in range(epsilon_end - 1, link_begin - 1, -1):
            extra = _link_extra(tokens, links[j], acwt)
            if extra < tokens[links[j].source].extra_cost and extra <= lattice_beam:
                tokens[links[j].source].extra_cost = extra
                changed = True
    for j in range(link_begin, epsilon_end):
        if not _link_extra(tokens, links[j], acwt) <= lattice_beam:
            links[j].target = -1
    change = 0.0
    for i in range(begin, end):
        if tokens[i].extra_cost != before[i - begin]:  # also inf == inf
            change = max(change, abs(tokens[i].extra_cost - before[i - begin]))
    return change


@njit()
def _drop_pruned(tokens, token_begin, links, link_begin, epsilon_end, frame, last_frame, end, num_links):
    """Compact the arrays from `frame` on: remove pruned tokens and links. Returns the new ends."""
    new_index = np.empty(end - token_begin[frame], np.int32)
    first = token_begin[frame]
    kept = first
    for t in range(frame, last_frame + 1):
        begin, old_end = token_begin[t], token_begin[t + 1]
        token_begin[t] = kept
        for i in range(begin, old_end):
            if tokens[i].extra_cost < np.inf:
                new_index[i - first] = kept
                tokens[kept] = tokens[i]
                kept += 1
            else:
                new_index[i - first] = -1
    token_begin[last_frame + 1] = kept
    kept_links = link_begin[frame]
    for t in range(frame, last_frame + 1):
        begin, middle, old_end = link_begin[t], epsilon_end[t], link_begin[t + 1]
        link_begin[t] = kept_links
        for j in range(begin, old_end):
            if j == middle:
                epsilon_end[t] = kept_links
            if links[j].target >= 0:
                links[kept_links] = links[j]
                links[kept_links].source = new_index[links[j].source - first]
                links[kept_links].target = new_index[links[j].target - first]
                kept_links += 1
        if middle == old_end:
            epsilon_end[t] = kept_links
    link_begin[last_frame + 1] = kept_links
    return kept, kept_links


@njit()
def prune(tokens, token_begin, links, link_begin, epsilon_end, last_frame, end, num_links, acwt, beam, delta):
    """Prune from the last frame back to where extra costs no longer change by more than `delta`."""
    frame = last_frame
    while frame > 0:
        frame -= 1
        change = prune_frame(
            tokens,
            token_begin[frame],
            token_begin[frame + 1],
            links,
            link_begin[frame],
            epsilon_end[frame],
            link_begin[frame + 1],
            acwt,
            beam,
            False,
        )
        if change <= delta:
            break
    return _drop_pruned(tokens, token_begin, links, link_begin, epsilon_end, frame, last_frame, end, num_links)
