"""Writer of two-channel mu-law SPHERE files, as on the Switchboard discs."""

from functools import cache
from pathlib import Path

import numpy as np

RATE = 8000  # sampling rate of the synthetic corpus, Hz
HEADER_BYTES = 1024  # NIST SPHERE 2.6: the header is a multiple of 1024 bytes
_BIAS, _CLIP = 0x84, 32635  # ITU-T G.711, 16-bit input


@cache
def _mu_law_table() -> np.ndarray:
    """Return the mu-law code of each 16-bit sample, indexed by the sample as uint16."""
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.abs(samples), _CLIP) + _BIAS
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    codes: np.ndarray = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return codes


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Return mu-law codes (uint8, same shape) of samples in [-1, 1]; louder ones are clipped."""
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return _mu_law_table()[pcm.view(np.uint16)]


def write_sphere(path: Path, channels: np.ndarray, conversation: str, database: str) -> None:
    """Write samples (2, T) in [-1, 1] at 8000 Hz as interleaved 8-bit mu-law.

    The header fields are those of the real discs (Release 2: sample_count counts samples per channel).
    """
    assert channels.ndim == 2 and channels.shape[0] == 2
    fields = [
        ("conversation_id", conversation),
        ("database_id", database),
        ("channel_count", 2),
        ("sample_coding", "mu-law"),
        ("channels_interleaved", "TRUE"),
        ("sample_count", channels.shape[1]),
        ("sample_rate", RATE),
        ("sample_n_bytes", 1),
        ("sample_sig_bits", 8),
    ]
    lines = ["NIST_1A", f"{HEADER_BYTES:7d}"]
    for name, value in fields:
        lines.append(f"{name} -i {value}" if isinstance(value, int) else f"{name} -s{len(value)} {value}")
    header = ("\n".join([*lines, "end_head", ""])).encode("ascii").ljust(HEADER_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + mu_law(np.ascontiguousarray(channels.T)).tobytes())
