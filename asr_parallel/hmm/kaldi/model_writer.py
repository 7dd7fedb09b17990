"""Kaldi's final.mdl from this package's models: the transition model, and Gaussian mixtures after it.

The transition model is what `transition_model` reads. The mixtures (Kaldi: src/gmm/am-diag-gmm.cc, diag-gmm.cc) are

<DIMENSION> D <NUMPDFS> P
<DiagGMM> <GCONSTS> vector <WEIGHTS> vector <MEANS_INVVARS> matrix <INV_VARS> matrix </DiagGMM>    for each pdf
"""

from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.kaldi.transition_model import NO_PDF
from asr_parallel.hmm.topology import State, Topology
from asr_parallel.hmm.transitions import TransitionModel


def write_transition_model(out: ObjectWriter, model: TransitionModel) -> None:
    """Write a transition model."""
    out.token("<TransitionModel>")
    out.line()
    write_topology(out, model.topology)
    out.token("<Triples>")
    out.integer(len(model.tuples))
    out.line()
    for row in model.tuples.tolist():
        out.integer(*row)
        out.line()
    out.token("</Triples>")
    out.line()
    out.token("<LogProbs>")
    out.line()
    out.reals(model.log_prob)
    out.token("</LogProbs>")
    out.line()
    out.token("</TransitionModel>")
    out.line()


def write_gmm(out: ObjectWriter, gmm: DiagGmmSet) -> None:
    """Write Gaussian mixtures."""
    constants = gmm.linear[0].numpy()
    inverse = 1 / gmm.variances.double()
    scaled_means, inverse_variances = (gmm.means * inverse).numpy(), inverse.numpy()
    out.token("<DIMENSION>")
    out.integer(gmm.dim)
    out.token("<NUMPDFS>")
    out.integer(gmm.num_pdfs)
    for first, end in zip(gmm.offsets, gmm.offsets[1:], strict=False):
        out.token("<DiagGMM>")
        out.line()
        out.token("<GCONSTS>")
        out.reals(constants[first:end])
        out.token("<WEIGHTS>")
        out.reals(gmm.weights[first:end].numpy())
        out.token("<MEANS_INVVARS>")
        out.matrix(scaled_means[first:end])
        out.token("<INV_VARS>")
        out.matrix(inverse_variances[first:end])
        out.token("</DiagGMM>")
        out.line()


def write_topology(out: ObjectWriter, topology: Topology) -> None:
    """Write a topology: one entry for all phones with the same states, the state that ends a phone added to each."""
    entries = list(dict.fromkeys(topology.phones.values()))
    out.token("<Topology>")
    out.line()
    if out.binary:
        phones = sorted(topology.phones)
        out.integers(phones)
        out.integers([entries.index(topology.phones[p]) if p in topology.phones else -1 for p in range(phones[-1] + 1)])
        out.integer(len(entries))
        for states in entries:
            _write_binary_entry(out, states)
    else:
        for states in entries:
            _write_text_entry(out, [phone for phone, own in topology.phones.items() if own == states], states)
    out.token("</Topology>")
    out.line()


def _write_binary_entry(out: ObjectWriter, states: tuple[State, ...]) -> None:
    out.integer(len(states) + 1)
    for s, transitions in enumerate(states):
        out.integer(s, len(transitions))
        for to, probability in transitions:
            out.integer(to)
            out.real(probability)
    out.integer(NO_PDF, 0)


def _write_text_entry(out: ObjectWriter, phones: list[int], states: tuple[State, ...]) -> None:
    for line in ("<TopologyEntry>", "<ForPhones>", " ".join(map(str, phones)), "</ForPhones>"):
        out.line(line)
    for s, transitions in enumerate(states):
        out.token("<State>", str(s), "<PdfClass>", str(s))
        for to, probability in transitions:
            out.token("<Transition>")
            out.integer(to)
            out.real(probability)
        out.line("</State>")
    out.line(f"<State> {len(states)} </State>")
    out.line("</TopologyEntry>")
