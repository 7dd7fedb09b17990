"""Verb `decode`: features -> lattices and words (stage 7)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import JobOptions
from asr_parallel.nnet.choices import check_device
from asr_parallel.record.options import Checked, build, names, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class OutputOptions(Checked):
    """Output."""

    nbest: int = option(0, "different word sequences to list for each utterance", least=0)
    state_level: bool = option(
        False, "write state-level lattices, which are large, as Kaldi's decoders with --determinize-lattice=false"
    )


@dataclass(frozen=True)
class DeviceOptions(Checked):
    """Device."""

    device: str = option(
        "auto", "for scores of a network, and k2; auto: a GPU if there is one, else the CPU; cuda:N: a certain one",
        metavar="DEVICE",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raise ValueError for a word that names no device."""
        check_device(self.device)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.decode.decoder_options import DecoderChoice, DecoderOptions

    return DecoderChoice, DecoderOptions, OutputOptions, DeviceOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--graph", type=Path, required=True, help="graph folder")
    parser.add_argument("--model", type=Path, required=True, help="folder of a GMM system or a network")
    parser.add_argument("--feats", type=Path, required=True, help="feature folder of the kind the model wants")
    parser.add_argument("--out", type=Path, required=True, help="decode folder to make")


def run(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from asr_parallel.decode.acoustic import default_options, scoring_device
    from asr_parallel.decode.decode import decode_set
    from asr_parallel.decode.decoder_options import NATIVE, DecoderChoice, DecoderOptions
    from asr_parallel.decode.scored_search import scored_search

    given = vars(args)
    choice = build(DecoderChoice, given)
    facts = {} if choice.decoder == NATIVE else {"decoder": choice.decoder}  # of the result, beside the options
    output, jobs = build(OutputOptions, given), build(JobOptions, given).count
    device = build(DeviceOptions, given).device
    own = {name: given[name] for name in names(DecoderOptions) & given.keys()}
    options = replace(default_options(args.model), **own)

    def make(folder: Path) -> None:
        if choice.decoder == NATIVE:
            gpu = scoring_device(args.model, device)
            search = scored_search(gpu, jobs) if gpu else None
        else:
            from asr_parallel.decode.k2_decoder import k2_search, open_k2

            place = open_k2(device)[1]
            gpu = scoring_device(args.model, str(place))
            search = k2_search(place, choice.batch_frames)
        decode_set(
            args.graph, args.model, args.feats, folder, options, jobs, output.nbest, output.state_level,
            search, {"scored_on": gpu or "cpu"} | facts,
        )  # fmt: skip

    run_stage(
        args.out,
        make,
        number=7,
        inputs={"graph": args.graph, "model": args.model, "features": args.feats},
        options=asdict(options) | asdict(output) | facts,
    )
