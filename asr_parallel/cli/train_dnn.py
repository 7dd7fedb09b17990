"""asr-parallel train-dnn: stage 6, a network on a frame store."""

import argparse
from dataclasses import asdict
from pathlib import Path

from asr_parallel.cli.train_mono import check_positive
from asr_parallel.record.environment import cpu_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.nnet.network import ACTIVATIONS
    from asr_parallel.training.trainer import TrainingOptions

    default = TrainingOptions()
    parser.add_argument("--frames", type=Path, required=True, help="frame store of stage 4")
    parser.add_argument("--out", type=Path, required=True, help="folder of the network")
    parser.add_argument("--hidden-layers", type=int, default=default.hidden_layers, help="default: %(default)s")
    parser.add_argument("--hidden-dim", type=int, default=default.hidden_dim, help="default: %(default)s")
    parser.add_argument("--activation", choices=ACTIVATIONS, default=default.activation, help="default: %(default)s")
    parser.add_argument("--dropout", type=float, default=default.dropout, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, help="per frame (default: by activation)")
    parser.add_argument("--minibatch", type=int, default=default.minibatch, help="frames (default: %(default)s)")
    parser.add_argument("--max-epochs", type=int, default=default.max_epochs, help="default: %(default)s")
    parser.add_argument("--halve-from", type=int, metavar="EPOCH", help="halve the rate from here at the latest")
    parser.add_argument("--held-out", type=float, default=default.held_out, help="share (default: %(default)s)")
    parser.add_argument(
        "--held-out-by", choices=("utterance", "speaker"), default=default.held_out_by, help="default: %(default)s"
    )
    parser.add_argument("--channel-tilt", type=float, default=default.channel_tilt, help="default: %(default)s")
    parser.add_argument("--channel-ripple", type=float, default=default.channel_ripple, help="default: %(default)s")
    parser.add_argument("--mask-filters", type=int, default=default.mask_filters, help="widest (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="of one process (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    from dataclasses import fields

    import torch

    from asr_parallel.features.frames import FrameStore
    from asr_parallel.record.files import write_json
    from asr_parallel.record.stage import run_stage
    from asr_parallel.training.trainer import TrainingOptions, train

    check_positive(args, "threads")
    options = TrainingOptions(**{field.name: getattr(args, field.name) for field in fields(TrainingOptions)})

    def build(folder: Path) -> None:
        torch.set_num_threads(args.threads)
        network, epochs = train(FrameStore.open(args.frames), options)
        network.save(folder)
        write_json(folder / "epochs.json", [asdict(epoch) for epoch in epochs])

    run_stage(args.out, build, number=6, inputs={"frames": args.frames}, options=asdict(options))
