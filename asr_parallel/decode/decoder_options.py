"""The options of the decoder, which the command line shows without importing the search."""

from dataclasses import dataclass

from asr_parallel.record.options import check, flag, option

NATIVE = "native"
DECODERS = (NATIVE, "k2")
K2_BATCH_FRAMES = 1500  # of k2: on a CPU larger batches are no faster, and 24000 take four times the memory


@dataclass(frozen=True)
class DecoderOptions:
    """Bounds of the search; beams are in units of scaled cost."""

    beam: float = option(13.0, "of the search", above=0, source="Kaldi steps/decode.sh")
    lattice_beam: float = option(
        6.0, "of what the lattice keeps; 8 for a network", above=0, source="Kaldi steps/decode.sh, steps/nnet/decode.sh"
    )
    max_active: int = option(7000, "tokens a frame at most", least=1, source="Kaldi steps/decode.sh")
    min_active: int = option(
        200, "tokens a frame at least, whatever the beam", least=0, source="Kaldi LatticeFasterDecoderConfig"
    )
    acwt: float = option(
        0.083333, "acoustic scale of the search; 0.1 for a network", above=0,
        source="Kaldi steps/decode.sh, steps/nnet/decode.sh",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range."""
        check(self)
        if self.min_active >= self.max_active:
            raise ValueError(f"expected min_active < max_active, got {self.min_active} and {self.max_active}")


@dataclass(frozen=True)
class DecoderChoice:
    """Which decoder."""

    decoder: str = option(NATIVE, "k2: of many utterances at once, on a GPU too (extra k2)", choices=DECODERS)
    batch_frames: int | None = option(None, "frames that k2 decodes at once", least=1, unset=f"{K2_BATCH_FRAMES}")

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range, or one that the decoder does not have."""
        check(self)
        if self.decoder == NATIVE and self.batch_frames is not None:
            raise ValueError(f"{flag('batch_frames')}: an option of --decoder k2 only; the decoder is {self.decoder}")
