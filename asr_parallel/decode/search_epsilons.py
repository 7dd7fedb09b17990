"""The part of the search within a frame: tokens follow the arcs that take no time.

Arrays grow outside of the loops over arcs, as numba counts references to an array that a loop may replace.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.decode.search_arrays import ensure_capacity, ensure_links, ensure_tokens
from asr_parallel.record.compiled import njit


@njit()
def _pass_on(states, arcs, token_states, costs, end, with_epsilons, found, stack, waiting, cutoff):
    """Propagate costs along epsilon arcs up to `cutoff` until the stack of tokens is empty or an array might be full.

    with_epsilons, found: list of the tokens whose states have epsilon arcs.

    Returns the new ends of the tokens, the list and the stack.
    """
    while waiting:
        i = stack[waiting - 1]
        state = token_states[i]
        first, last = states[state].epsilon, states[state].end
        room = min(len(token_states) - end, len(with_epsilons) - found, len(stack) - waiting)
        if room < last - first:
            break
        waiting -= 1
        cost = costs[i]
        if cost > cutoff:
            continue
        for a in range(first, last):
            new_cost = cost + arcs[a].weight
            if new_cost > cutoff:
                continue
            target = arcs[a].next
            i = states[target].token
            passes_on = states[target].epsilon < states[target].end
            if i < 0:
                i = end
                end += 1
                token_states[i] = target
                states[target].token = i
                with_epsilons[found] = i
                found += passes_on
            elif new_cost >= costs[i]:
                continue
            costs[i] = new_cost
            stack[waiting] = i
            waiting += passes_on
    return end, found, waiting


@njit()
def _make_epsilon_links(states, arcs, tokens, with_epsilons, links, num_links, cutoff):
    """Make the epsilon links of a frame whose tokens have their final costs. Returns the new end of the links."""
    token_states, costs = tokens.state, tokens.cost
    link_costs, link_sources, link_targets, link_arcs = links.cost, links.source, links.target, links.arc
    for i in with_epsilons:
        cost = costs[i]
        state = token_states[i]
        if cost > cutoff:
            continue
        for a in range(states[state].epsilon, states[state].end):
            new_cost = cost + arcs[a].weight
            if new_cost <= cutoff:
                link_costs[num_links] = new_cost
                link_sources[num_links] = i
                link_targets[num_links] = states[arcs[a].next].token
                link_arcs[num_links] = a
                num_links += 1
    return num_links


@njit()
def follow_epsilons(states, arcs, tokens, end, with_epsilons, found, links, num_links, cutoff):
    """Propagate the frame's tokens along epsilon arcs up to `cutoff`, then make the links.

    with_epsilons, found: list of the tokens whose states have epsilon arcs, at its start.

    Returns the arrays (perhaps reallocated) and their new ends.
    """
    stack = np.empty(found + 64, np.int32)
    for n in range(found):
        stack[n] = with_epsilons[n]
    waiting = found
    while True:
        end, found, waiting = _pass_on(
            states, arcs, tokens.state, tokens.cost, end, with_epsilons, found, stack, waiting, cutoff
        )  # fmt: skip
        if waiting == 0:
            break
        state = tokens.state[stack[waiting - 1]]
        num_arcs = states[state].end - states[state].epsilon
        tokens = ensure_tokens(tokens, end + num_arcs)
        with_epsilons = ensure_capacity(with_epsilons, found + num_arcs)
        stack = ensure_capacity(stack, waiting + num_arcs)
    num_arcs = 0
    for n in range(found):
        state = tokens.state[with_epsilons[n]]
        num_arcs += states[state].end - states[state].epsilon
    links = ensure_links(links, num_links + num_arcs)
    num_links = _make_epsilon_links(states, arcs, tokens, with_epsilons[:found], links, num_links, cutoff)
    return tokens, end, links, num_links
