"""Generation of the whole synthetic corpus, in parallel processes.

Each conversation is made in a process of its own (eSpeak NG keeps state between calls) and depends only on the seed and
its number, so that the number of processes does not change the corpus.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from asr_parallel.corpus.synthetic import eval2000_tree, swbd_tree
from asr_parallel.corpus.synthetic.conversation import Plan, SyntheticConversation, hold_conversation
from asr_parallel.corpus.synthetic.dictionary import Pronunciations, dictionary, odd_spellings, plain_words
from asr_parallel.corpus.synthetic.espeak import EspeakEngine
from asr_parallel.corpus.synthetic.espeak_library import require_espeak
from asr_parallel.corpus.synthetic.fresh_processes import in_fresh_processes
from asr_parallel.corpus.synthetic.language import Split, grammar
from asr_parallel.corpus.synthetic.pronunciation import pronounce
from asr_parallel.corpus.synthetic.segmentation import Segment, cut_into_segments
from asr_parallel.corpus.synthetic.speech import Engine
from asr_parallel.corpus.synthetic.sphere import write_sphere
from asr_parallel.corpus.synthetic.telephone import Difficulty, simulate_telephone
from asr_parallel.corpus.synthetic.tokens import Token
from asr_parallel.corpus.synthetic.tones import ToneEngine, spell
from asr_parallel.corpus.synthetic.voices import draw_speaker
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress

SpeechKind = Literal["espeak", "tones"]

SECONDS_A_CONVERSATION = 150.0  # speech of both sides: many speakers rather than long calls
SECONDS_AN_EVAL_FILE = 90.0
FIRST_CONVERSATION = 2001  # Switchboard's first number; later ones have gaps
FIRST_EVAL = {"sw": 4390, "en": 4156}  # as in the evaluation itself
EXAMPLES = 4000  # sentences from which pronunciations in context are taken
DATABASE = {"train": "SWITCHBOARD", "eval": "HUB5E_00"}


@dataclass(frozen=True)
class Task:
    """The parameters of one conversation."""

    root: Path
    seed: int
    split: Split
    index: int
    name: str  # "2001" or "sw_4390"
    disc: int  # of the training half
    topic: str
    seconds: float
    speech: SpeechKind
    difficulty: Difficulty


@dataclass(frozen=True)
class FinishedConversation:
    """A finished conversation, as needed for the totals and for files about the whole corpus."""

    task: Task
    seconds: float
    segments: tuple[list[Segment], list[Segment]]
    visitor: str | None

    def speech_seconds(self) -> float:
        """Return the total length of segments with speech, both sides together, in seconds."""
        return sum(s.end - s.start for side in self.segments for s in side if not s.is_silence)

    def tokens(self) -> Iterator[Token]:
        """Yield every token."""
        for side in self.segments:
            for segment in side:
                yield from (token for token, _, _ in segment.tokens)


def write_corpus(
    root: Path,
    *,
    hours: float = 1.5,
    eval_hours: float = 0.25,
    seed: int = 1,
    jobs: int = 1,
    speech: SpeechKind = "espeak",
    difficulty: Difficulty | None = None,
    conversations: int | None = None,
    eval_files: int | None = None,
) -> dict[str, float]:
    """Write the corpus into the folder `root`.

    Args:
        root: folder of the corpus, with LDC97S62/, swb_ms98_transcriptions/, LDC2002S09/ and LDC2002T43/.
        hours: hours of transcribed training speech, summed over both sides, as Kaldi counts Switchboard.
        eval_hours: the same for the evaluation.
        seed: random seed.
        jobs: number of processes; does not change the result.
        speech: "espeak" (needs the extra `synth`), or "tones", which needs no package.
        difficulty: see `Difficulty`.
        conversations, eval_files: numbers of calls; None: so that they have 2.5 and 1.5 minutes of speech each.

    Returns:
        Counts by name: hours, words, speakers and so on.

    Raises:
        ValueError: an impossible amount, or the optional package is not installed.
    """
    if not all(0 < h < float("inf") for h in (hours, eval_hours)):
        raise ValueError(f"hours ({hours}) and eval-hours ({eval_hours}) must both be more than 0")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    if speech not in swbd_tree.ENGINES:
        raise ValueError(f"speech is {speech!r}; expected one of {', '.join(swbd_tree.ENGINES)}")
    if speech == "espeak":
        require_espeak()
    conversations = conversations or max(2, round(hours * 3600 / SECONDS_A_CONVERSATION))
    eval_files = eval_files or max(2, 2 * round(eval_hours * 3600 / SECONDS_AN_EVAL_FILE / 2))
    if conversations > 4000 or eval_files > 400:
        raise ValueError(f"{hours} + {eval_hours} hours are too many: conversation numbers have four digits")
    names: dict[Split, list[str]] = {"train": _conversations(conversations, seed), "eval": _eval_files(eval_files)}
    amount: dict[Split, float] = {"train": hours * 3600, "eval": eval_hours * 3600}
    tasks = [
        Task(
            root=root,
            seed=seed,
            split=split,
            index=index,
            name=name,
            disc=1 + index * swbd_tree.DISCS // len(names[split]),
            topic=list(grammar().topics)[index % len(grammar().topics)],
            seconds=amount[split] / len(names[split]),
            speech=speech,
            difficulty=difficulty or Difficulty(),
        )
        for split in names
        for index, name in enumerate(names[split])
    ]
    said: Pronunciations
    if speech == "tones":  # the engine has no state
        said = {text: [spell(text)] for text in _words()}
        made = [make_conversation(task) for task in progress(tasks, "synthesising", unit="conversations")]
    else:
        calls: list[Callable[[], object]] = [partial(_pronunciations, seed)]
        calls += [partial(make_conversation, task) for task in tasks]
        with closing(in_fresh_processes(calls, jobs, preload=__name__)) as results:
            said = next(results)
            made = list(progress(results, "synthesising", total=len(tasks), unit="conversations"))
    _write_shared_files(root, made, said, speech)
    return _count(made)


def _conversations(count: int, seed: int) -> list[str]:
    """Return Switchboard's conversation numbers: four digits, ascending, with gaps."""
    steps = np.random.default_rng([seed, 0]).choice([1, 1, 1, 2, 4], count - 1)
    return [str(number) for number in FIRST_CONVERSATION - 1 + np.cumsum([1, *steps])]


def _eval_files(count: int) -> list[str]:
    """Return the names of the evaluation's files, Switchboard and CallHome in turn."""
    halves = [("sw", "en")[index % 2] for index in range(count)]
    return [f"{half}_{FIRST_EVAL[half] + 7 * (index // 2)}" for index, half in enumerate(halves)]


def _engine(speech: SpeechKind) -> Engine:
    return ToneEngine() if speech == "tones" else EspeakEngine()


def _words() -> list[str]:
    """Return all words that need a pronunciation."""
    return [*plain_words(), *odd_spellings()]


def _pronunciations(seed: int) -> dict[str, list[tuple[str, ...]]]:
    """Return eSpeak NG's pronunciation of each word; call this in a process of its own."""
    rng = np.random.default_rng([seed, 3])
    topics = list(grammar().topics)
    return pronounce(_words(), [grammar().sentence(str(rng.choice(topics)), rng) for _ in range(EXAMPLES)])


def make_conversation(task: Task) -> FinishedConversation:
    """Generate, synthesise and write one conversation. Run it in a fresh process if the engine keeps state."""
    rng = np.random.default_rng([task.seed, 1 + (task.split == "eval"), task.index])
    people = [
        draw_speaker(f"{task.split}-{task.name}-{side}", task.split, 2 * task.index + number, rng)
        for number, side in enumerate(("A", "B", "A1"))
    ]
    with_visitor = task.split == "eval" and task.index == 0
    plan = Plan(
        topic=task.topic,
        split=task.split,
        speakers=(people[0], people[1]),
        seconds=task.seconds,
        hesitation=task.difficulty.hesitation,
        monologue=task.split == "train" and task.index == 1,
        every_kind=task.index == 0,
        visitor=people[2] if with_visitor else None,
    )
    conversation = hold_conversation(plan, list(grammar().topics), _engine(task.speech), rng)
    sides = (
        cut_into_segments(conversation, 0, rng, silences=not plan.monologue),
        cut_into_segments(conversation, 1, rng, silences=True),
    )
    _write_audio(task, conversation, rng)
    if task.split == "train":
        for side in (0, 1):
            swbd_tree.write_side(task.root, int(task.name), side, sides[side])
    return FinishedConversation(task, conversation.seconds, sides, plan.visitor.name if plan.visitor else None)


def _write_audio(task: Task, conversation: SyntheticConversation, rng: np.random.Generator) -> None:
    if task.split == "train":
        path = swbd_tree.audio_path(task.root, int(task.name), task.disc)
    else:
        path = task.root / eval2000_tree.AUDIO / f"{task.name}.sph"
    shift = task.difficulty.callhome_snr_shift_db if task.name.startswith("en") else 0.0
    write_sphere(
        path, simulate_telephone(conversation.voices(), task.difficulty, rng, shift), task.name, DATABASE[task.split]
    )


def _write_shared_files(
    root: Path, made: Sequence[FinishedConversation], said: Pronunciations, speech: SpeechKind
) -> None:
    """Write the files that describe many conversations."""
    train = [one for one in made if one.task.split == "train"]
    evaluation = [one for one in made if one.task.split == "eval"]
    swbd_tree.write_dictionary(root, dictionary(said, (token for one in train for token in one.tokens())))
    swbd_tree.write_documents(root, {int(one.task.name): one.task.disc for one in train}, speech)
    scored = []
    for one in evaluation:
        for side in (0, 1):
            ignored = 1 if one.task.index == 1 and side == 0 else None
            scored += eval2000_tree.reference_segments(one.task.name, side, one.segments[side], one.visitor, ignored)
    eval2000_tree.write_references(root, scored, {one.task.name: one.seconds for one in evaluation})


def _count(made: Sequence[FinishedConversation]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for split in ("train", "eval"):
        own = [one for one in made if one.task.split == split]
        counts[f"{split}_conversations"] = len(own)
        counts[f"{split}_speakers"] = len({s.speaker for one in own for side in one.segments for s in side} - {""})
        counts[f"{split}_hours"] = round(sum(one.speech_seconds() for one in own) / 3600, 4)
        counts[f"{split}_words"] = sum(1 for one in own for token in one.tokens() if token.spoken)
        counts[f"{split}_vocabulary"] = len(
            {token.reference for one in own for token in one.tokens() if token.kind == "word"}
        )
    logger.info("synthetic corpus: %s", ", ".join(f"{name} {value}" for name, value in counts.items()))
    return counts
