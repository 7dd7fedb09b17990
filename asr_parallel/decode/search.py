"""Token passing over a decoding graph with a beam, keeping every path within the lattice beam.

The search of Kaldi's LatticeFasterDecoder (decoder/lattice-faster-decoder.cc), compiled by numba. The module
decode/lattice_pruning.py describes tokens and links. Unlike in Kaldi, epsilon links are made after the costs of a frame
are final, so none is made twice, and costs are float64, which needs no offset per frame.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.decode.lattice_pruning import LINK, TOKEN, prune, prune_frame
from asr_parallel.record.compiled import njit

PRUNE_INTERVAL = 25  # frames between prunings; LatticeFasterDecoderConfig::prune_interval
PRUNE_SCALE = 0.1  # of lattice_beam: smaller changes are not propagated; LatticeFasterDecoderConfig::prune_scale
BEAM_DELTA = 0.5  # added to a beam narrowed by max_active; LatticeFasterDecoderConfig::beam_delta


@njit()
def ensure_capacity(array, needed):
    """Return `array`, or a copy twice as long if it has fewer than `needed` entries."""
    if needed <= len(array):
        return array
    longer = np.empty(max(needed, 2 * len(array)), array.dtype)
    for i in range(len(array)):  # assigning a slice would take seconds more to compile
        longer[i] = array[i]
    return longer


@njit()
def _nth_smallest(values, n):
    """Return the n-th smallest of `values` (from 0), reordering them (Hoare; np.partition compiles slowly)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if n <= j:
            high = j
        elif n >= i:
            low = i
        else:
            break
    return values[n]


@njit()
def _cutoff(tokens, begin, end, beam, max_active, min_active):
    """Return the cost above which a frame's tokens are dropped, the beam for the next frame, and the best token."""
    costs = np.empty(end - begin, np.float64)
    best = begin
    for i in range(begin, end):
        costs[i - begin] = tokens[i].cost
        if tokens[i].cost < tokens[best].cost:
            best = i
    best_cost = tokens[best].cost
    beam_cutoff = best_cost + beam
    if len(costs) > max_active:
        active_cutoff = _nth_smallest(costs, max_active)
        if active_cutoff < beam_cutoff:
            return active_cutoff, active_cutoff - best_cost + BEAM_DELTA, best
    if len(costs) > min_active:
        active_cutoff = best_cost if min_active == 0 else _nth_smallest(costs, min_active)
    else:
        active_cutoff = np.inf
    if active_cutoff > beam_cutoff:
        return active_cutoff, active_cutoff - best_cost + BEAM_DELTA, best
    return beam_cutoff, beam, best


@njit()
def _follow_epsilons(first_epsilon, offsets, arcs, tokens, begin, end, links, num_links, token_of, cutoff):
    """Propagate the frame's tokens along epsilon arcs up to `cutoff`, then make the links.

    Returns the arrays (perhaps reallocated) and their new ends.
    """
    queue = np.empty(end - begin + 16, np.int32)
    waiting = 0
    for i in range(begin, end):
        state = tokens[i].state
        if first_epsilon[state] < offsets[state + 1]:
            queue[waiting] = i
            waiting += 1
    while waiting:
        waiting -= 1
        cost = tokens[queue[waiting]].cost
        state = tokens[queue[waiting]].state
        if cost > cutoff:
            continue
        for a in range(first_epsilon[state], offsets[state + 1]):
            new_cost = cost + arcs[a].weight
            if new_cost > cutoff:
                continue
            target = arcs[a].next
            i = token_of[target]
            if i < 0:
                i = end
                tokens = ensure_capacity(tokens, end + 1)
                tokens[i].state = target
                tokens[i].extra_cost = 0.0
                token_of[target] = i
                end += 1
            elif new_cost >= tokens[i].cost:
                continue
            tokens[i].cost = new_cost
            if first_epsilon[target] < offsets[target + 1]:
                queue = ensure_capacity(queue, waiting + 1)
                queue[waiting] = i
                waiting += 1
    for i in range(begin, end):
        cost = tokens[i].cost
        state = tokens[i].state
        if cost > cutoff:
            continue
        for a in range(first_epsilon[state], offsets[state + 1]):
            if cost + arcs[a].weight <= cutoff:
                links = ensure_capacity(links, num_links + 1)
                link = links[num_links]
                link.source = i
                link.target = token_of[arcs[a].next]
                link.ilabel = 0
                link.olabel = arcs[a].olabel
                link.graph_cost = arcs[a].weight
                link.acoustic_cost = 0.0
                num_links += 1
    return tokens, end, links, num_links


@njit()
def search(
    first_epsilon,
    offsets,
    arcs,
    finals,
    start,
    pdf_of,
    log_likelihoods,
    token_of,
    beam,
    max_active,
    min_active,
    lattice_beam,
    acwt,
):
    """Decode one utterance.

    Args:
        first_epsilon, offsets, arcs, finals, start: the graph (hmm/search_graph.py); arcs of a state are emitting
            up to first_epsilon[state], then not.
        pdf_of: (transition ids + 1,) column of log_likelihoods of each ilabel.
        log_likelihoods: (T, pdfs) float32, unscaled.
        token_of: (S,) int32 scratch memory, -1 before and after.
        beam, lattice_beam: in units of scaled cost; max_active, min_active: tokens a frame; acwt: acoustic scale.

    Returns:
        tokens (N,), token_begin (T + 2,), links (L,), the tokens' total number before pruning, and 1 when a final
        state was reached, 0 when none was (all tokens of the last frame then count as final), -1 when no
        token survived to the last frame.
    """
    num_frames = len(log_likelihoods)
    tokens = np.empty(4096, TOKEN)
    links = np.empty(4096, LINK)
    token_begin = np.zeros(num_frames + 2, np.int64)
    link_begin = np.zeros(num_frames + 2, np.int64)
    epsilon_end = np.zeros(num_frames + 1, np.int64)
    tokens[0].state = start
    tokens[0].cost = 0.0
    tokens[0].extra_cost = 0.0
    token_of[start] = 0
    token_begin[1] = 1
    num_links = 0
    num_tokens = 0
    tokens, end, links, num_links = _follow_epsilons(
        first_epsilon, offsets, arcs, tokens, token_begin[0], token_begin[1], links, num_links, token_of, beam
    )
    token_begin[1] = end
    link_begin[1] = epsilon_end[0] = num_links
    for t in range(num_frames):
        if t % PRUNE_INTERVAL == 0 and t > 0:
            end, num_links = prune(
                tokens,
                token_begin,
                links,
                link_begin,
                epsilon_end,
                t,
                end,
                num_links,
                acwt,
                lattice_beam,
                lattice_beam * PRUNE_SCALE,
            )
        begin = token_begin[t]
        num_tokens += end - begin
        for i in range(begin, end):
            token_of[tokens[i].state] = -1
        cutoff, next_beam, best = _cutoff(tokens, begin, end, beam, max_active, min_active)
        next_cutoff = np.inf
        frame = log_likelihoods[t]
        state = tokens[best].state
        for a in range(offsets[state], first_epsilon[state]):
            cost = tokens[best].cost + (arcs[a].weight + acwt * -frame[pdf_of[arcs[a].ilabel]])
            next_cutoff = min(next_cutoff, cost + next_beam)
        new_end = end
        for i in range(begin, end):
            source_cost = tokens[i].cost
            state = tokens[i].state
            if source_cost > cutoff:
                continue
            for a in range(offsets[state], first_epsilon[state]):
                acoustic_cost = -frame[pdf_of[arcs[a].ilabel]]
                cost = source_cost + (arcs[a].weight + acwt * acoustic_cost)
                if cost > next_cutoff:
                    continue
                next_cutoff = min(next_cutoff, cost + next_beam)
                target = token_of[arcs[a].next]
                if target < 0:
                    target = new_end
                    tokens = ensure_capacity(tokens, new_end + 1)
                    tokens[target].state = arcs[a].next
                    tokens[target].cost = cost
                    tokens[target].extra_cost = 0.0
                    token_of[arcs[a].next] = target
                    new_end += 1
                elif cost < tokens[target].cost:
                    tokens[target].cost = cost
                links = ensure_capacity(links, num_links + 1)
                link = links[num_links]
                link.source = i
                link.target = target
                link.ilabel = arcs[a].ilabel
                link.olabel = arcs[a].olabel
                link.graph_cost = arcs[a].weight
                link.acoustic_cost = acoustic_cost
                num_links += 1
        link_begin[t + 1] = num_links
        if new_end == end:
            return tokens[:0], token_begin, links[:0], num_tokens, -1
        tokens, new_end, links, num_links = _follow_epsilons(
            first_epsilon, offsets, arcs, tokens, end, new_end, links, num_links, token_of, next_cutoff
        )
        epsilon_end[t + 1] = num_links
        end = new_end
        token_begin[t + 2] = end
        link_begin[t + 2] = num_links
    begin = token_begin[num_frames]
    best = best_final = np.inf
    for i in range(begin, end):
        token_of[tokens[i].state] = -1
        best = min(best, tokens[i].cost)
        best_final = min(best_final, tokens[i].cost + finals[tokens[i].state])
    reached_final = best_final < np.inf
    for i in range(begin, end):
        extra = tokens[i].cost - best
        if reached_final:
            extra = tokens[i].cost + finals[tokens[i].state] - best_final
        tokens[i].extra_cost = extra if extra <= lattice_beam else np.inf
    prune_frame(tokens, begin, end, links, link_begin[num_frames], num_links, num_links, acwt, lattice_beam, True)
    end, num_links = prune(
        tokens, token_begin, links, link_begin, epsilon_end, num_frames, end, num_links, acwt, lattice_beam, -1.0
    )
    return tokens[:end], token_begin, links[:num_links], num_tokens, 1 if reached_final else 0
