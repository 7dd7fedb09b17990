"""The tokens and links of the search, and their pruning: which tokens and links lie on a path within the lattice beam.

A token is a graph state reached after t frames at a cost; a link is an arc between two tokens. Both lie in growing
arrays in the order of frames: frame t's tokens are those from token_begin[t] to token_begin[t + 1]. Of the links that
leave them, those from link_spans[t, 0] to link_spans[t, 1] are the epsilon links, which stay in the frame, and those
from link_spans[t, 2] to link_spans[t, 3] the emitting ones, which enter frame t + 1.

A token's extra cost is the cost of the best path through it minus that of the best path, as far as is known: 0 on
the current last frame, infinite for a pruned token.
(Kaldi: PruneActiveTokens in decoder/lattice-faster-decoder.cc. It goes back as far as extra costs change much; here
the search says how far, as pruning while it runs only saves memory: the last pruning decides what the lattice keeps.)
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.record.compiled import njit


@njit()
def _move_link(links, to, origin):
    """Copy a link within the arrays."""
    links.cost[to] = links.cost[origin]
    links.source[to] = links.source[origin]
    links.target[to] = links.target[origin]
    links.arc[to] = links.arc[origin]


@njit()
def prune_frame(tokens, begin, end, links, span, lattice_beam, last):
    """Update the extra costs of one frame's tokens and drop its links outside the lattice beam.

    span: the row of link_spans; its ends move down to the last link kept. For the last frame (`last`) start from the
    tokens' own extra costs, else from the emitting links.
    """
    cost, extra = tokens.cost, tokens.extra
    if not last:
        for i in range(begin, end):
            extra[i] = np.inf
    kept = span[2]
    for j in range(span[2], span[3]):
        target = links.target[j]
        if extra[target] == np.inf:  # most are, and nothing else of the link needs to be read
            continue
        of_link = extra[target] + (links.cost[j] - cost[target])
        if of_link <= lattice_beam:
            source = links.source[j]
            extra[source] = min(extra[source], of_link)
            _move_link(links, kept, j)
            kept += 1
    span[3] = kept
    changed = True
    while changed:  # epsilon chains within the frame: links were made roughly in the order of paths, so go backwards
        changed = False
        for j in range(span[1] - 1, span[0] - 1, -1):
            target = links.target[j]
            of_link = extra[target] + (links.cost[j] - cost[target])
            if of_link < extra[links.source[j]] and of_link <= lattice_beam:
                extra[links.source[j]] = of_link
                changed = True
    kept = span[0]
    for j in range(span[0], span[1]):
        target = links.target[j]
        if extra[target] + (links.cost[j] - cost[target]) <= lattice_beam:
            _move_link(links, kept, j)
            kept += 1
    span[1] = kept


@njit()
def _close_gaps(tokens, token_begin, links, link_spans, frame, last_frame):
    """Remove pruned tokens from `frame` on, and the gaps that pruned links left. Returns the new ends."""
    state, cost, extra = tokens.state, tokens.cost, tokens.extra
    first = kept = token_begin[frame]
    new_index = np.empty(token_begin[last_frame + 1] - first, np.int32)  # of tokens that are kept
    for t in range(frame, last_frame + 1):
        begin, end = token_begin[t], token_begin[t + 1] if t < last_frame else first + len(new_index)
        token_begin[t] = kept
        for i in range(begin, end):
            # links from earlier frames have the indices of the first frame's tokens
            if extra[i] < np.inf or 0 < t == frame:
                new_index[i - first] = kept
                state[kept], cost[kept], extra[kept] = state[i], cost[i], extra[i]
                kept += 1
    token_begin[last_frame + 1] = kept
    kept_links = link_spans[frame, 0]
    for t in range(frame, last_frame + 1):
        for kind in range(0, 4, 2):
            begin, end = link_spans[t, kind], link_spans[t, kind + 1]
            link_spans[t, kind] = kept_links
            for j in range(begin, end):
                _move_link(links, kept_links, j)
                links.source[kept_links] = new_index[links.source[j] - first]
                links.target[kept_links] = new_index[links.target[j] - first]
                kept_links += 1
            link_spans[t, kind + 1] = kept_links
    return kept, kept_links


@njit()
def prune(tokens, token_begin, links, link_spans, frame, last_frame, beam):
    """Prune from the last frame, whose tokens have their extra costs, back to `frame`.

    Returns the new numbers of tokens and links.
    """
    for t in range(last_frame - 1, frame - 1, -1):
        prune_frame(tokens, token_begin[t], token_begin[t + 1], links, link_spans[t], beam, False)
    return _close_gaps(tokens, token_begin, links, link_spans, frame, last_frame)
