"""Speed of feature computation: times real time on one core, reading included, for each kind and backend.

    python benchmarks/features.py [--seconds 600]

Audio is noise in 30 s recordings of the two-channel mu-law kind, each cut into utterances of about 4 s.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from asr_parallel.corpus.datadir import write_data
from asr_parallel.features.compute import FeatureOptions, compute_features
from asr_parallel.features.extractors import BACKENDS, KINDS

RECORDING_SECONDS = 30.0
UTTERANCE_SECONDS = 4.0


def make_data(folder: Path, seconds: float) -> None:
    """A data folder of `seconds` of noise."""
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    random = np.random.default_rng(0)
    recordings, utterances = [], []
    for r in range(int(seconds / RECORDING_SECONDS / 2)):
        path = folder / f"{r}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * random.standard_normal((int(RECORDING_SECONDS * 8000), 2))
        soundfile.write(path, samples, 8000, subtype="ULAW")
        recordings.append(Recording.from_file(path, recording_id=f"r{r}"))
        for channel in range(2):
            for k, start in enumerate(np.arange(0, RECORDING_SECONDS - 1, UTTERANCE_SECONDS)):
                duration = min(UTTERANCE_SECONDS, RECORDING_SECONDS - start)
                name = f"s{r}{channel}-{k}"
                utterances.append(
                    SupervisionSegment(
                        name, f"r{r}", float(start), duration, channel, text="a", speaker=f"s{r}{channel}"
                    )
                )
    write_data(folder, RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(utterances))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of audio (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        make_data(Path(work) / "data", args.seconds)
        for backend in BACKENDS:
            for kind in KINDS:
                out = Path(work) / f"{backend}-{kind}"
                out.mkdir()
                try:
                    times = []
                    for _ in range(3):
                        start = time.process_time()
                        compute_features(Path(work) / "data", out, FeatureOptions(kind, backend))
                        times.append(time.process_time() - start)
                except ValueError as error:
                    print(f"{backend:20} {kind:11} {error}")
                    continue
                print(f"{backend:20} {kind:11} {args.seconds / min(times):8.0f} x real time (CPU time, one core)")


if __name__ == "__main__":
    main()
