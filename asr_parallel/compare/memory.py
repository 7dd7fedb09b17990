"""The number of trainings that fit into memory side by side."""

from collections.abc import Iterable

from asr_parallel.compare.matrix_training import Training
from asr_parallel.record.environment import available_memory
from asr_parallel.record.log import logger

# Measured on a CPU: 521 MB with one worker of a network of 0.8 M parameters, 809 MB with 16, NG-SGD
PROCESS_BYTES = 550e6  # torch and its libraries, buffers of frames; the frame store itself is shared
BYTES_A_PARAMETER = 32  # of every worker: parameters, gradient, step, snapshots; 23 measured


def bytes_of(training: Training, shape: tuple[int, int, int], processes: int) -> float:
    """Return the bytes that a training needs, about.

    Args:
        shape: dimensions of a frame, frames of context on either side, pdfs.
        processes: of the training.
    """
    parameters = training.training_options.network_spec(*shape).num_parameters
    return PROCESS_BYTES * min(processes, training.workers) + BYTES_A_PARAMETER * parameters * training.workers


def that_fit(trainings: Iterable[Training], shape: tuple[int, int, int], processes: int, wanted: int) -> int:
    """Return how many trainings fit into memory at a time, at most those wanted and at least one."""
    most = max(bytes_of(one, shape, processes) for one in trainings)
    fit = max(1, int(min(wanted, available_memory() / most)))
    if fit < wanted:
        logger.warning("%d trainings at a time in place of %d: one may need %.1f GB", fit, wanted, most / 1e9)
    return fit
