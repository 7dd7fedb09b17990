"""The simulated telephone, the sounds, mu-law, and turn taking on the time line."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.corpus.synthetic.conversation import Plan, hold_conversation
from asr_parallel.corpus.synthetic.segmentation import cut_into_segments
from asr_parallel.corpus.synthetic.sounds import make_sound
from asr_parallel.corpus.synthetic.sphere import RATE, mu_law, write_sphere
from asr_parallel.corpus.synthetic.telephone import Difficulty, simulate_telephone
from asr_parallel.corpus.synthetic.tones import ToneEngine
from asr_parallel.corpus.synthetic.voices import VARIANTS, draw_speaker

CLEAR = dict(distortion=(0.0, 0.0), drift_db=0.0, level_db=(-26.0, -26.0), echo_db=(-90.0, -90.0))


def _bursts(rng: np.random.Generator) -> np.ndarray:
    """Two sides of noise bursts, one second on, one off, never both at once."""
    voices = 0.1 * rng.standard_normal((2, 20 * RATE)).astype(np.float32)
    seconds = np.arange(voices.shape[1]) // RATE
    voices[0, seconds % 2 == 1] = 0
    voices[1, seconds % 2 == 0] = 0
    return voices


@pytest.mark.parametrize("snr", [5.0, 20.0])
def test_noise_has_the_level_asked_for_and_is_there_in_silence(snr: float) -> None:
    rng = np.random.default_rng(3)
    voices = _bursts(rng)
    dry = dict(reverberation_seconds=(0.02, 0.02), direct_to_reverberant_db=(30.0, 30.0))
    lines = simulate_telephone(voices, Difficulty(snr_db=(snr, snr), **CLEAR, **dry), rng)  # type: ignore[arg-type]
    for side in (0, 1):
        speaking = voices[side] != 0
        noise = np.mean(lines[side, ~speaking] ** 2)
        assert 10 * np.log10(np.mean(lines[side, speaking] ** 2) / noise - 1) == pytest.approx(snr, abs=1.5)
        pauses = lines[side].reshape(20, RATE)[side ^ 1 :: 2]
        assert np.all(np.std(pauses, axis=1) > 0.1 * np.sqrt(noise))


def test_the_line_passes_the_telephone_band_only_and_keeps_time() -> None:
    rng = np.random.default_rng(4)
    voices = _bursts(rng)
    lines = simulate_telephone(voices, Difficulty(snr_db=(40.0, 40.0), **CLEAR), rng)  # type: ignore[arg-type]
    power = np.abs(np.fft.rfft(lines[0].reshape(-1, 800) * np.hanning(800))) ** 2
    power = power.mean(axis=0)  # bins of 10 Hz
    assert power[1:10].mean() < 0.003 * power[60:250].mean()
    assert power[380:].mean() < 0.003 * power[60:250].mean()
    lag = int(np.argmax(np.correlate(lines[0, : RATE + 400], voices[0, :RATE], "valid")))
    assert lag <= 8  # a millisecond: word times stay true


def test_mu_law_is_libsndfiles_for_every_sample_and_loud_ones_are_clipped(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.int16)
    soundfile.write(tmp_path / "theirs.wav", every, RATE, subtype="ULAW")
    assert mu_law(every / 32768).tobytes() == (tmp_path / "theirs.wav").read_bytes()[-65536:]
    write_sphere(tmp_path / "a.sph", np.array([[2.0, 0.0], [-2.0, 0.51]]), "2001", "SWITCHBOARD")
    read, rate = soundfile.read(tmp_path / "a.sph")
    assert rate == RATE
    assert np.allclose(read, [[0.98, -0.98], [0.0, 0.51]], atol=0.01)


def test_sounds_are_heard_and_short() -> None:
    rng = np.random.default_rng(6)
    speaker = draw_speaker("x", "train", 0, rng)
    for kind in ("laughter", "noise", "vocalized"):
        for _ in range(5):
            sound = make_sound(kind, speaker, rng)  # type: ignore[arg-type]
            assert 0.15 <= sound.seconds <= 1.6
            assert 0.02 <= np.sqrt(np.mean(sound.samples**2)) <= 0.12


def test_turns_overlap_now_and_then_but_nobody_talks_over_himself() -> None:
    rng = np.random.default_rng(7)
    people = (draw_speaker("a", "train", 0, rng), draw_speaker("b", "train", 1, rng))
    held = hold_conversation(Plan("cars", "train", people, 150), ["cars", "pets"], ToneEngine(), rng)
    for side in (0, 1):
        own = [piece for piece in held.said if piece.side == side]
        assert all(before.end <= after.start for before, after in pairwise(own))
    overlaps = sum(a.side != b.side and b.start < a.end for a, b in pairwise(held.said))
    assert 3 <= overlaps <= len(held.said) / 2
    spoken = sum(
        segment.end - segment.start
        for side in (0, 1)
        for segment in cut_into_segments(held, side, rng, silences=True)
        if not segment.is_silence
    )
    assert spoken == pytest.approx(150, rel=0.15)


def test_training_and_evaluation_share_no_voice() -> None:
    for sex in ("M", "F"):
        assert not set(VARIANTS["train"][sex]) & set(VARIANTS["eval"][sex])
