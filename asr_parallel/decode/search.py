"""Token passing over a decoding graph with a beam, keeping every path within the lattice beam.

The search of Kaldi's LatticeFasterDecoder (decoder/lattice-faster-decoder.cc), compiled by numba. The module
decode/lattice_pruning.py describes tokens and links. Unlike in Kaldi, epsilon links are made after the costs of a frame
are final, so none is made twice, and costs are float64, which needs no offset per frame.

Most of the time goes into waiting for graph states and arcs that lie far apart in memory. Therefore what is needed of
a state is one record, states and arcs are fetched some tokens ahead, arrays are made long enough once a frame, not
before every entry, and they serve one utterance after the other: to get new memory from the system takes longer than
to use it.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.decode.lattice_pruning import prune, prune_frame
from asr_parallel.decode.prefetch import prefetch
from asr_parallel.decode.search_arrays import ensure_links, ensure_tokens
from asr_parallel.decode.search_cutoff import cutoff_of
from asr_parallel.decode.search_epsilons import follow_epsilons
from asr_parallel.record.compiled import njit

# Frames between prunings; Kaldi has 25 (LatticeFasterDecoderConfig::prune_interval). Hardly a link of the last frames
# can be pruned yet: the fewer prunings, the fewer links they leave over. Memory: 20 bytes a token, 24 a link
PRUNE_INTERVAL = 200
STATES_AHEAD, ARCS_AHEAD = 16, 8  # tokens; measured, half and double are as good


@njit()
def _follow_emitting(
    states, arcs, acoustic_costs, pdf_of, tokens, begin, end, links, num_links, cutoff, next_cutoff, next_beam
):  # fmt: skip
    """Propagate the frame's tokens along emitting arcs to the next frame and make the links.

    acoustic_costs: of each pdf. The arrays of tokens and links have room for all arcs.

    Returns the new ends, the cutoff of the next frame, the list of the new tokens whose states have epsilon arcs and
    its length, and the number of emitting arcs of the new tokens.
    """
    # Two passes: which links there are depends on costs alone. So the first pass has no branches that are hard to
    # predict, and the second knows early which states it will need.
    token_states, costs = tokens.state, tokens.cost
    link_costs, link_sources, link_targets, link_arcs = links.cost, links.source, links.target, links.arc
    first_link = num_links
    for i in range(begin, end):
        source_cost = costs[i]
        state = token_states[i]
        prefetch(states, token_states[min(i + STATES_AHEAD, end - 1)])
        prefetch(arcs, states[token_states[min(i + ARCS_AHEAD, end - 1)]].begin)
        states[state].token = -1
        if source_cost > cutoff:
            continue
        for a in range(states[state].begin, states[state].epsilon):
            cost = source_cost + (arcs[a].weight + acoustic_costs[pdf_of[arcs[a].ilabel]])
            link_costs[num_links] = cost
            link_sources[num_links] = i
            link_targets[num_links] = arcs[a].next  # a state until the second pass
            link_arcs[num_links] = a
            num_links += cost <= next_cutoff
            next_cutoff = min(next_cutoff, cost + next_beam)
    with_epsilons, found, num_arcs = np.empty(num_links - first_link + 64, np.int32), 0, 0
    for j in range(first_link, num_links):
        state = link_targets[j]
        target = states[state].token
        if target < 0:
            target = end
            token_states[target] = state
            costs[target] = link_costs[j]
            states[state].token = target
            with_epsilons[found] = target
            found += states[state].epsilon < states[state].end
            num_arcs += states[state].epsilon - states[state].begin
            end += 1
        else:
            costs[target] = min(costs[target], link_costs[j])
        link_targets[j] = target
    return end, num_links, next_cutoff, with_epsilons, found, num_arcs


@njit()
def _emitting_arcs(states, token_states):
    """Return how many emitting arcs leave these states."""
    found = 0
    for state in token_states:
        found += states[state].epsilon - states[state].begin
    return found


@njit()
def search(
    states, arcs, finals, start, pdf_of, tokens, links, log_likelihoods,
    beam, max_active, min_active, lattice_beam, acwt,
):  # fmt: skip
    """Decode one utterance.

    Args:
        states: (S,) STATE of the graph. arcs, finals, start: the graph (hmm/search_graph.py).
        pdf_of: (transition ids + 1,) column of log_likelihoods of each ilabel.
        tokens, links: arrays to work in, with arbitrary content.
        log_likelihoods: (T, pdfs) float32, unscaled.
        beam, lattice_beam: in units of scaled cost; max_active, min_active: tokens a frame; acwt: acoustic scale.

    Returns:
        The arrays of tokens (perhaps longer ones) and the number of tokens, token_begin (T + 2,), the arrays of links
        and the number of links, the tokens' total number before pruning, and 1 when a final state was reached, 0 when
        none was (all tokens of the last frame then count as final), -1 when no token survived to the last frame.
    """
    num_frames = len(log_likelihoods)
    token_begin = np.zeros(num_frames + 2, np.int64)
    link_spans = np.zeros((num_frames + 1, 4), np.int64)
    tokens.state[0] = start
    tokens.cost[0] = 0.0
    states[start].token = 0
    num_tokens = 0
    with_epsilons = np.zeros(64, np.int32)
    found = int(states[start].epsilon < states[start].end)
    tokens, end, links, num_links = follow_epsilons(states, arcs, tokens, 1, with_epsilons, found, links, 0, beam)
    token_begin[1] = end
    num_arcs = _emitting_arcs(states, tokens.state[:end])
    link_spans[0, 1:] = num_links
    for t in range(num_frames):
        begin = token_begin[t]
        if t % PRUNE_INTERVAL == 0 and t > 0:
            for i in range(begin, end):
                tokens.extra[i] = 0.0
            end, num_links = prune(
                tokens, token_begin, links, link_spans, t - PRUNE_INTERVAL, t, lattice_beam
            )  # fmt: skip
            begin = token_begin[t]
        num_tokens += end - begin
        cutoff, next_beam, best = cutoff_of(tokens.cost[begin:end], beam, max_active, min_active)
        frame = log_likelihoods[t]
        acoustic_costs = np.empty(len(frame), np.float64)
        for pdf in range(len(frame)):
            acoustic_costs[pdf] = acwt * -frame[pdf]
        next_cutoff = np.inf
        state = tokens.state[begin + best]
        for a in range(states[state].begin, states[state].epsilon):
            cost = tokens.cost[begin + best] + (arcs[a].weight + acoustic_costs[pdf_of[arcs[a].ilabel]])
            next_cutoff = min(next_cutoff, cost + next_beam)
        tokens = ensure_tokens(tokens, end + num_arcs)
        links = ensure_links(links, num_links + num_arcs + 1)  # one more, as links that are not made are overwritten
        link_spans[t, 2] = num_links
        new_end, num_links, next_cutoff, with_epsilons, found, num_arcs = _follow_emitting(
            states, arcs, acoustic_costs, pdf_of, tokens, begin, end, links, num_links, cutoff, next_cutoff, next_beam
        )  # fmt: skip
        link_spans[t, 3] = link_spans[t + 1, 0] = num_links
        if new_end == end:
            return tokens, end, token_begin, links, num_links, num_tokens, -1
        after = new_end
        tokens, new_end, links, num_links = follow_epsilons(
            states, arcs, tokens, new_end, with_epsilons, found, links, num_links, next_cutoff
        )
        num_arcs += _emitting_arcs(states, tokens.state[after:new_end])
        link_spans[t + 1, 1:] = num_links
        end = token_begin[t + 2] = new_end
    begin = token_begin[num_frames]
    best_cost = best_final = np.inf
    for i in range(begin, end):
        states[tokens.state[i]].token = -1
        best_cost = min(best_cost, tokens.cost[i])
        best_final = min(best_final, tokens.cost[i] + finals[tokens.state[i]])
    reached_final = best_final < np.inf
    for i in range(begin, end):
        extra = tokens.cost[i] - best_cost
        if reached_final:
            extra = tokens.cost[i] + finals[tokens.state[i]] - best_final
        tokens.extra[i] = extra if extra <= lattice_beam else np.inf
    prune_frame(tokens, begin, end, links, link_spans[num_frames], lattice_beam, True)
    end, num_links = prune(tokens, token_begin, links, link_spans, 0, num_frames, lattice_beam)
    return (
        tokens,
        end,
        token_begin,
        links,
        num_links,
        num_tokens,
        1 if reached_final else 0,
    )
