"""The decoding graph against its definition, spelt out path by path."""

import itertools
import math

import kaldifst
import kaldilm
import numpy as np
import pytest

from asr_parallel.decode.compact_lattice import with_strings
from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.lattice import best_paths
from asr_parallel.hmm import graph, h_transducer
from asr_parallel.hmm.fst_arrays import STD_ARC, Fst, from_kaldifst, fst_bytes, fst_from_arcs, to_kaldifst
from asr_parallel.hmm.graph import SELF_LOOP_SCALE, decoding_graph, grammar_fst, make_graph
from asr_parallel.hmm.h_transducer import add_self_loops
from asr_parallel.hmm.lang import Lang, build_lang
from asr_parallel.hmm.search_graph import SearchGraph, search_graph
from asr_parallel.hmm.topology import Topology, left_to_right
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Leaf, Question, Tree, by_state, monophone_tree

# homophones (a, d), a prefix of another word (a, ab), two pronunciations (c), one-phone words
LEXICON = {
    "a": [(1.0, ("x",))],
    "ab": [(1.0, ("x", "y"))],
    "c": [(0.5, ("y",)), (1.0, ("z", "x"))],
    "d": [(0.8, ("x",))],
    "<unk>": [(1.0, ("spn",))],
}
UNIGRAMS = {"a": (-0.7, -0.3), "ab": (-0.6, -0.2), "c": (-0.9, -0.4), "d": (-0.8, 0.0), "<unk>": (-2.0, 0.0)}
BIGRAMS = {("<s>", "ab"): -0.2, ("a", "c"): -0.1, ("ab", "a"): -0.4, ("c", "</s>"): -0.3}
START_BACKOFF, END = -0.5, -0.9
ARPA = "\n".join(
    [
        "\\data\\",
        f"ngram 1={len(UNIGRAMS) + 2}",
        f"ngram 2={len(BIGRAMS)}",
        "",
        "\\1-grams:",
        f"-99\t<s>\t{START_BACKOFF}",
        f"{END}\t</s>",
        *(f"{prob}\t{word}\t{backoff}" for word, (prob, backoff) in UNIGRAMS.items()),
        "",
        "\\2-grams:",
        *(f"{prob}\t{' '.join(pair)}" for pair, prob in BIGRAMS.items()),
        "",
        "\\end\\",
        "",
    ]
)
QUANTUM = 0.02  # minimisation rounds each weight to 1/1024


def triphone_tree(lang, topology):
    """Every speech phone asks for its left or its right neighbour, each state another question."""
    pdfs = itertools.count()
    roots = {}
    for phone in topology.phones:
        states = range(topology.num_states(phone))
        if phone in lang.silence_phones:
            roots[phone] = by_state([Leaf(next(pdfs)) for _ in states])
            continue
        members = frozenset(lang.nonsilence_phones[:2])
        nodes = [Question(2 * (s % 2), members, Leaf(next(pdfs)), Leaf(next(pdfs))) for s in states]
        roots[phone] = by_state(nodes)
    return Tree(3, 1, next(pdfs), roots)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    build_lang(folder / "lang", LEXICON)
    (folder / "lm.arpa").write_text(ARPA)
    return folder


@pytest.fixture(scope="module")
def lang(folder):
    return Lang.open(folder / "lang")


def system(kind, lang):
    topology = Topology.of_phones(lang.silence_phones, lang.nonsilence_phones, 3, 2)
    tree = monophone_tree(topology) if kind == "monophone" else triphone_tree(lang, topology)
    transitions = TransitionModel.build(topology, tree)
    rng = np.random.default_rng(3)  # no two transitions alike
    return tree, transitions.updated(rng.integers(6, 60, transitions.num_transition_ids + 1))


def graph_of(kind, folder, lang):
    tree, transitions = system(kind, lang)
    grammar = grammar_fst(folder / "lm.arpa", folder / "lang/words.txt")
    lexicon = kaldifst.StdVectorFst.read(str(folder / "lang/L_disambig.fst"))
    return tree, transitions, decoding_graph(grammar, lexicon, lang.disambig_phones, tree, transitions)


def language_cost(words):
    """Cost of a sentence in G, where a seen bigram competes with its own backoff."""
    total = 0.0
    for before, word in itertools.pairwise(["<s>", *words, "</s>"]):
        backoff = START_BACKOFF if before == "<s>" else UNIGRAMS[before][1]
        unigram = END if word == "</s>" else UNIGRAMS[word][0]
        total += max(backoff + unigram, BIGRAMS.get((before, word), -math.inf))
    return -total * math.log(10)


def pronunciations(words, lang):
    """Every (cost, phones) of a word sequence: choice of pronunciations, silence or none at every border."""
    variants = [lang.lexicon[word] for word in words]
    for chosen in itertools.product(*variants):
        for silences in itertools.product([False, True], repeat=len(words) + 1):
            phones = [lang.optional_silence] * silences[0]
            for (_, chain), silence in zip(chosen, silences[1:], strict=True):
                phones += [*chain, *[lang.optional_silence] * silence]
            yield len(silences) * math.log(2) - sum(math.log(p) for p, _ in chosen), phones


def hmm_cost(phones, scores, tree, transitions):
    """Viterbi over the chain of HMMs; `scores` (T, pdfs) are costs. Infinite when T is too short."""
    side = tree.central_position
    padded = [0] * side + phones + [0] * side
    costs = -transitions.scaled_log_prob(1.0, SELF_LOOP_SCALE).astype(float)
    nodes = [(i, s) for i, phone in enumerate(phones) for s in range(transitions.topology.num_states(phone))]
    node_of = {node: n for n, node in enumerate(nodes)}
    moves, pdfs = [], []
    for n, (i, s) in enumerate(nodes):
        pdf = tree.pdf(padded[i : i + tree.context_width], s)
        pdfs.append(pdf)
        for tid in transitions.tids(transitions.transition_state(phones[i], s, pdf)):
            following = int(transitions.next_hmm_state_of[tid])
            target = (i, following) if (i, following) in node_of else (i + 1, 0)
            moves.append((n, node_of.get(target, len(nodes)), costs[tid]))
    reach = np.full(len(nodes) + 1, np.inf)
    reach[0] = 0.0
    for frame in scores:
        reach[:-1] += frame[pdfs]
        reach[-1] = np.inf
        following = np.full(len(nodes) + 1, np.inf)
        for source, target, cost in moves:
            following[target] = min(following[target], reach[source] + cost)
        reach = following
    return reach[-1]


@pytest.mark.parametrize("kind", ["monophone", "triphone"])
def test_best_path_is_that_of_the_definition(kind, folder, lang):
    tree, transitions, graph = graph_of(kind, folder, lang)
    decoder = Decoder(search_graph(graph), transitions.pdf_of, DecoderOptions(beam=100.0, acwt=1.0))
    num_frames = 8  # at 2 frames a phone: 4 phones
    for seed in range(3):
        scores = np.random.default_rng(seed).normal(size=(num_frames, tree.num_pdfs)) * 3
        found = []
        for length in range(1, 5):
            for words in itertools.product(LEXICON, repeat=length):
                for cost, phones in pronunciations(words, lang):
                    if 2 * len(phones) <= num_frames:
                        total = cost + language_cost(words) + hmm_cost(phones, scores, tree, transitions)
                        found.append((total, words))
        expected, words = min(found)
        decoded = decoder.decode(-scores.astype(np.float32))
        assert decoded.reached_final
        (path,) = best_paths(with_strings(decoded.lattice), [(1.0, 0.0)])
        assert path.graph_cost + path.acoustic_cost == pytest.approx(expected, abs=QUANTUM)
        assert path.words == lang.word_ids(" ".join(words))


@pytest.mark.parametrize("kind", ["monophone", "triphone"])
@pytest.mark.parametrize("sentence", ["a", "d c", "ab a c", "c c d ab", "a ab <unk> c"])
def test_a_sentence_costs_what_model_lexicon_and_hmms_say(kind, sentence, folder, lang):
    tree, transitions, graph = graph_of(kind, folder, lang)
    words = sentence.split()
    arcs = np.zeros(len(words), STD_ARC)
    arcs["ilabel"] = arcs["olabel"] = lang.word_ids(sentence)
    arcs["next"] = np.arange(1, len(words) + 1)
    finals = np.full(len(words) + 1, np.inf, np.float32)
    finals[-1] = 0
    restricted = compose(graph, fst_from_arcs(0, finals, np.arange(len(words)), arcs))
    shortest = kaldifst.shortest_path(restricted)
    ok, _, olabels, cost = kaldifst.get_linear_symbol_sequence(shortest)
    assert ok and olabels == lang.word_ids(sentence)
    assert cost.value == pytest.approx(shortest_cost(words, lang, tree, transitions), abs=QUANTUM)


def compose(left: Fst, right: Fst):
    first, second = to_kaldifst(left), to_kaldifst(right)
    kaldifst.arcsort(first, "olabel")
    return kaldifst.compose(first, second)


def shortest_cost(words, lang, tree, transitions):
    """Cheapest pronunciation in any number of frames: silence costs extra, so 2 or 3 frames a phone are enough."""
    best = math.inf
    for cost, phones in pronunciations(words, lang):
        for num_frames in range(2 * len(phones), 3 * len(phones) + 1):
            free = np.zeros((num_frames, tree.num_pdfs))
            best = min(best, cost + hmm_cost(phones, free, tree, transitions))
    return best + language_cost(words)


@pytest.mark.parametrize("copy_up_to", [-1, 10])
def test_self_loops_stand_where_their_state_is_entered_and_split_mixed_states(copy_up_to, monkeypatch):
    monkeypatch.setattr(h_transducer, "COPY_UP_TO", copy_up_to)
    topology = Topology({1: left_to_right(1), 2: left_to_right(1)})
    transitions = TransitionModel.build(topology, monophone_tree(topology))  # ids: 1 loop, 2 out; 3 loop, 4 out
    arcs = np.array([(2, 7, 1.0, 1), (4, 8, 2.0, 1), (4, 0, 0.5, 2), (0, 9, 0.25, 2)], STD_ARC)
    fst = Fst(0, np.array([np.inf, np.inf, 0], np.float32), np.array([0, 2, 4, 4]), arcs)
    looped = add_self_loops(fst, transitions, 1.0, 0.1)
    rows = sorted(
        (int(s), int(a["ilabel"]), int(a["olabel"]), round(float(a["weight"]), 4), int(a["next"]))
        for s, a in zip(looped.sources, looped.arcs, strict=True)
    )
    stay = round(-0.1 * math.log(0.75), 4)
    # state 1 is entered by both phones (new states 3, 4), state 2 by phone 2 (new state 5) and by epsilon
    into_1 = [(0, 2, 7, 1.0, 3), (3, 1, 0, stay, 3), (0, 4, 8, 2.0, 4), (4, 3, 0, stay, 4)]
    outgoing = [(1, 4, 0, 0.5, 5), (1, 0, 9, 0.25, 2), (5, 3, 0, stay, 5)]
    if copy_up_to > 0:
        joined = [(state, *arc[1:]) for state in (3, 4) for arc in outgoing[:2]]
    else:
        joined = [(3, 0, 0, 0.0, 1), (4, 0, 0, 0.0, 1), (5, 0, 0, 0.0, 2)]
    assert rows == sorted(into_1 + outgoing + joined)
    ends = [False, False, True, False, False, copy_up_to > 0]
    assert looped.start == 0 and np.isfinite(looped.finals).tolist() == ends


def test_graph_folder_comes_back_and_its_epsilon_arcs_lead_upwards(folder, lang, tmp_path):
    tree, transitions = system("triphone", lang)
    (tmp_path / "model").mkdir()
    tree.save(tmp_path / "model")
    transitions.save(tmp_path / "model")
    make_graph(tmp_path, folder / "lang", folder / "lm.arpa", tmp_path / "model")
    graph = SearchGraph.open(tmp_path / "search")
    assert kaldifst.StdVectorFst.read(str(tmp_path / "HCLG.fst")).start >= 0
    assert (tmp_path / "words.txt").read_bytes() == (folder / "lang/words.txt").read_bytes()
    assert 0 < graph.max_ilabel <= TransitionModel.open(tmp_path).num_transition_ids
    sources = np.repeat(np.arange(graph.num_states), np.diff(graph.offsets))
    emitting = np.arange(len(graph.arcs)) < graph.first_epsilon[sources]
    np.testing.assert_array_equal(emitting, graph.arcs["ilabel"] != 0)
    assert (graph.arcs["next"] > sources)[~emitting].all()


def grammar_bytes(arpa, words):
    return fst_bytes(from_kaldifst(grammar_fst(arpa, words)))


def test_grammar_is_arpa2fsts_of_the_untouched_file(folder, tmp_path):
    words = folder / "lang/words.txt"
    kaldilm.arpa2fst(
        input_arpa=str(folder / "lm.arpa"),
        output_fst=str(tmp_path / "G.fst"),
        disambig_symbol="#0",
        read_symbol_table=str(words),
    )
    expected = kaldifst.StdVectorFst.read(str(tmp_path / "G.fst"))
    kaldifst.arcsort(expected, "ilabel")
    assert grammar_bytes(folder / "lm.arpa", words) == fst_bytes(from_kaldifst(expected))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-99\t<s>", "-inf\t<s>"),
        ("-0.3\tc </s>", "-0.3\tc </s>\t-0.1"),
        ("<unk>", "<UNK>"),
        ("\n", "\r\n"),
        ("ngram 1=7", "ngram 1=9"),  # with the two below
    ],
)
def test_what_arpa2fst_would_die_of_makes_the_same_grammar(folder, tmp_path, old, new):
    text = ARPA.replace(old, new)
    if new == "ngram 1=9":
        text = text.replace("\\1-grams:", "\\1-grams:\n-1\t<eps>\t-0.1\n-1\t#0\t-0.1")
    (tmp_path / "own.arpa").write_bytes(text.encode())
    words = folder / "lang/words.txt"
    assert grammar_bytes(tmp_path / "own.arpa", words) == grammar_bytes(folder / "lm.arpa", words)


def test_unigrams_with_backoffs_make_a_grammar(folder, tmp_path):
    unigrams = ARPA.partition("\\2-grams:")[0].replace(f"ngram 2={len(BIGRAMS)}\n", "") + "\\end\\\n"
    (tmp_path / "own.arpa").write_text(unigrams)
    grammar = from_kaldifst(grammar_fst(tmp_path / "own.arpa", folder / "lang/words.txt"))
    costs = sorted(grammar.arcs["weight"][grammar.arcs["ilabel"] > 0].tolist())
    assert costs == pytest.approx(sorted(-prob * math.log(10) for prob, _ in UNIGRAMS.values()))


def test_an_abort_of_native_code_is_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "ARPA2FST", "import os; os.abort()")
    with pytest.raises(ValueError, match="kaldilm cannot make a grammar of it"):
        grammar_fst(folder / "lm.arpa", folder / "lang/words.txt")


def test_what_does_not_fit_together_is_refused(folder, lang, tmp_path):
    with pytest.raises(ValueError, match="no such language model"):
        grammar_fst(tmp_path / "lm.arpa", folder / "lang/words.txt")
    (tmp_path / "bad.arpa").write_text("\\data\\\nngram 1=1\n\n\\1-grams:\nminus one\n\\end\\\n")
    with pytest.raises(ValueError, match=r"bad\.arpa"):
        grammar_fst(tmp_path / "bad.arpa", folder / "lang/words.txt")
    other = Topology.of_phones([1], [2])
    (tmp_path / "model").mkdir()
    monophone_tree(other).save(tmp_path / "model")
    TransitionModel.build(other, monophone_tree(other)).save(tmp_path / "model")
    with pytest.raises(ValueError, match="its phones are not those of"):
        make_graph(tmp_path, folder / "lang", folder / "lm.arpa", tmp_path / "model")


def test_a_cycle_without_frames_is_refused():
    arcs = np.array([(0, 5, 0.1, 1), (0, 6, 0.1, 0), (1, 5, 0.1, 0)], STD_ARC)
    with pytest.raises(ValueError, match="cycle"):
        search_graph(Fst(0, np.zeros(2, np.float32), np.array([0, 1, 3]), arcs))
