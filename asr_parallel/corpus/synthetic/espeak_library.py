"""ctypes binding of eSpeak NG: text to samples and times of phonemes, or text to phonemes.

eSpeak NG is free software under the GNU General Public License, version 3 or later. It comes with the package
`espeakng_loader` (this package's extra `synth`), is not part of this package, and is loaded only in processes
started for synthesis. It has global state, so that its output depends slightly on earlier calls: the same calls in the
same order in a fresh process give the same samples.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.record.optional import require

# espeak-ng's speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS, _INITIALIZE_DONT_EXIT = 0x0001, 0x8000
_EVENT_WORD, _EVENT_PHONEME = 1, 7
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_PHONEMES_SEPARATED_BY = ord("_") << 8  # phoneme mode of espeak_TextToPhonemes: mnemonics with this between them


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class PhonemeEvent:
    """The start of a phoneme: name ("_..." for pauses), sample, and position of its word in the text (from 0)."""

    name: str
    sample: int
    text_position: int


def require_espeak() -> Any:
    """Return the package with the library, without loading it; ValueError that names the extra to install."""
    return require("espeakng_loader", extra="synth", purpose="synthesising speech")


class EspeakLibrary:
    """The loaded library. Create one in each process only: its state is global."""

    def __init__(self) -> None:
        loader = require_espeak()
        self._library = ctypes.CDLL(loader.get_library_path())
        self._data = Path(loader.get_data_path())
        self.rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(self._data).encode(), _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_DONT_EXIT
        )
        if self.rate <= 0:
            raise ValueError(f"{self._data}: eSpeak NG cannot use its data")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._chunks: list[np.ndarray] = []
        self._events: list[PhonemeEvent] = []
        self._callback = _Callback(self._receive)  # a reference must be kept as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type:
            event = events[at]
            if event.type == _EVENT_PHONEME:
                name = bytes(event.id.string).decode("utf-8", errors="replace")
                self._events.append(PhonemeEvent(name, event.sample, event.text_position - 1))
            at += 1
        return 0

    def set_voice(self, voice: str, words_a_minute: int, pitch: int, pitch_range: int) -> None:
        """Set voice (accent+variant), rate and pitch; ValueError for an unknown voice (eSpeak would use another)."""
        _, _, variant = voice.partition("+")
        if variant and not (self._data / "voices" / "!v" / variant).is_file():
            raise ValueError(f"eSpeak NG has no voice variant {variant!r}")
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in ((_RATE, words_a_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)

    def synthesise(self, text: str) -> tuple[np.ndarray, list[PhonemeEvent]]:
        """Return samples (int16, at `rate`) and the starts of the phonemes."""
        self._chunks, self._events = [], []
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks:
            raise ValueError(f"eSpeak NG says nothing for {text!r}")
        return np.concatenate(self._chunks), self._events

    def phonemes(self, text: str) -> list[list[str]]:
        """Return phonemes of each word, stress marks removed. Words that eSpeak joins ("of the") are one entry."""
        buffer = ctypes.create_string_buffer(text.encode())  # must live while the pointer walks along it
        pointer = ctypes.c_void_p(ctypes.addressof(buffer))
        parts = []
        while pointer.value:
            found = self._library.espeak_TextToPhonemes(ctypes.byref(pointer), _CHARS_UTF8, _PHONEMES_SEPARATED_BY)
            parts += found.decode().split()
        return [[name for name in map(plain, part.split("_")) if name] for part in parts]


def plain(name: str) -> str:
    """Return a phoneme's name without stress, syllable, pause and palatalisation marks; "" for a pause."""
    bare = name.strip("',%=;_")
    return "" if bare == ":" else bare


@cache
def library() -> EspeakLibrary:
    """Return the library of this process."""
    return EspeakLibrary()


def word_spans(
    starts: Sequence[int], lengths: Sequence[int], events: Sequence[PhonemeEvent], samples: int
) -> list[tuple[int, int]]:
    """Return first and last sample of each word.

    Args:
        starts, lengths: position in the text and number of letters of each word, in order.
        events: phonemes in order of time; words that eSpeak joins have the text position of the first.
        samples: total number of samples.

    The span of joined words is divided in proportion to their letters.
    """
    spans: dict[int, tuple[int, int]] = {}
    for event, following in zip(events, [*events[1:], None], strict=True):
        if event.name.startswith("_"):
            continue
        end = samples if following is None else following.sample
        at = max((i for i, start in enumerate(starts) if start <= event.text_position), default=0)
        first, last = spans.get(at, (event.sample, end))
        spans[at] = (min(first, event.sample), max(last, end))
    groups = sorted(spans)
    result: list[tuple[int, int]] = []
    for head, following_head in zip([0, *groups[1:]], [*groups[1:], len(starts)], strict=True):
        first, last = spans[groups[0] if head == 0 else head]
        letters = np.cumsum([0, *lengths[head:following_head]])
        bounds = [first + round((last - first) * int(n) / int(letters[-1])) for n in letters]
        result += list(pairwise(bounds))
    return result
