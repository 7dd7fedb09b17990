"""EC-DNN as an algorithm: what it refuses, who goes on from where, and that models are never averaged."""

from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Models, random_models, scheduler, sync_info, together

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.ecdnn.ensemble import Ensemble
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import split
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

NAN = float("nan")


def begin(models: Models, minibatches: int = 100, transport: Transport | None = None, **options: Any) -> Ensemble:
    of = begin_rounds(models, minibatches, transport, **options).algorithm
    assert isinstance(of, Ensemble)
    return of


def begin_rounds(
    models: Models, minibatches: int = 100, transport: Transport | None = None, **options: Any
) -> SyncScheduler:
    return scheduler(models, transport, minibatches=minibatches, algorithm="ensemble", **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pseudo_weight": -0.1}, r"pseudo_weight -0\.1: expected a number of at least 0"),
        ({"pseudo_weight": NAN}, "pseudo_weight nan: expected a number of at least 0"),
        ({"relabel_fraction": 0.0}, r"relabel_fraction 0\.0: expected a number above 0 and at most 1"),
        ({"relabel_fraction": -0.5}, r"relabel_fraction -0\.5: expected a number above 0 and at most 1"),
        ({"relabel_fraction": 1.01}, r"relabel_fraction 1\.01: expected a number above 0 and at most 1"),
        ({"relabel_fraction": NAN}, "relabel_fraction nan: expected a number above 0 and at most 1"),
        ({"relabel_fraction": 0.014}, r"none of the 67 minibatches of an epoch; expected at least 0\.0149 and at most"),
        ({"period": 0}, "period 0: expected a whole number of at least 1"),
        ({"compress_minibatches": 0}, "compress_minibatches 0: expected a whole number of at least 1"),
        ({"compress_minibatches": 9, "period": 8}, "compress_minibatches 9: expected at most the period, 8 minib"),
        ({"top": 0}, "top 0: expected a whole number of at least 1"),
        ({"exchange": "weights"}, "unknown exchange 'weights'; expected one of models, posteriors"),
        ({"ensemble_average": "mean"}, "unknown ensemble_average 'mean'; expected one of posterior, log-posterior"),
        ({"temperature": 0.0}, r"temperature 0\.0: expected a number above 0"),
        ({"keep_workers": False}, "keep_workers: the result of algorithm ensemble is its workers' models"),
        ({"combine": 5}, "combine 5: the workers of an ensemble are never averaged; expected 0"),
        ({"overlap": True, "period": 8, "compress_minibatches": 6},
         "overlap: 3 minibatches until all models have come, 6 of compression: expected a period of at least 9, not 8"),
        ({"comm_dtype": "int8"}, "comm_dtype 'int8' is of no use to algorithm ensemble"),
        ({"ema": 0.9}, "ema 0.9 is of no use to algorithm ensemble"),
        ({"fault_tolerant": True}, "fault_tolerant True is of no use to algorithm ensemble"),
    ],
)  # fmt: skip
def test_out_of_range(frames_folder: Any, tmp_path: Any, changes: dict[str, Any], message: str) -> None:
    common = {"workers": 3, "algorithm": "ensemble", "minibatch": 16, "hidden_layers": 1, "hidden_dim": 4, "epochs": 1}
    with pytest.raises(ValueError, match=message) as refused:
        Trainer(FrameStore.open(frames_folder), training_options(**{**common, **changes}), tmp_path)
    assert "\n" not in str(refused.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["relabel_fraction", "compress_minibatches", "exchange", "top"])
def test_its_constants_are_of_no_use_to_others(name: str) -> None:
    value = {"relabel_fraction": 0.2, "compress_minibatches": 3, "exchange": "posteriors", "top": 2}[name]
    with pytest.raises(ValueError, match=f"{name} .* is of no use to algorithm average, only to ensemble"):
        split(workers=2, **{name: value})


def test_an_average_of_outputs_needs_workers_that_are_kept() -> None:
    with pytest.raises(ValueError, match="ensemble_average is of no use without algorithm ensemble or keep_workers"):
        training_options(workers=2, ensemble_average="log-posterior")
    assert training_options(workers=2, ensemble_average="log-posterior", keep_workers=True).keeps_workers


def test_period_and_length_of_a_round() -> None:
    models = Models(random_models(2, 4, 0))
    of = begin(models)
    assert (of.period, of.length, of.relabelled) == (25, 10, 10)  # a quarter and a tenth of an epoch
    of = begin(models, minibatches=30, period=2)
    assert (of.period, of.length, of.relabelled) == (2, 2, 2)  # 3 would be labelled
    of = begin(models, compress_minibatches=20)
    assert (of.period, of.length, of.relabelled) == (25, 20, 10)
    of = begin(models, compress_minibatches=4)
    assert (of.period, of.length, of.relabelled) == (25, 4, 4)  # no more than is trained on
    assert begin(models, minibatches=100, relabel_fraction=0.29, period=99).relabelled == 29  # not 28.999...
    assert begin(models, minibatches=3, relabel_fraction=1.0, period=9).relabelled == 3


def test_models_never_meet_in_a_mean() -> None:
    models = Models(random_models(3, 5, 0))
    before, of = models.parameters.clone(), begin_rounds(models).synchronizer
    for number in range(3):
        of.synchronize(models, sync_info([8, 9, 0], number, loss=[3.0, 2.0, NAN]))
        assert torch.equal(models.parameters, before) and of.algorithm.members == [0, 1, 2]
    for kept, first in (([True, True, True], 0), ([False, True, True], 1), ([False, False, True], 2)):
        assert torch.equal(of.global_model(models, sync_info([8, 9, 0], valid=kept)), before[first])
    of.flush(models)
    assert torch.equal(models.parameters, before)


def test_at_its_end_a_training_has_the_workers_own_models() -> None:
    models = Models(random_models(3, 5, 0))
    before = models.parameters.clone()
    rounds = begin_rounds(models, period=10)
    rounds.after_batch(models, np.array([8, 8, 8]), torch.tensor([1.0, 1.0, 1.0]))
    assert torch.equal(rounds.finish(models), before[0])
    assert torch.equal(models.parameters, before) and rounds.num_syncs == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize(
    ("kept", "loss", "best"),
    [
        ([True, False, True, True], [2.0, NAN, 1.5, 1.7], 2),
        ([False, False, True, True], [0.1, 0.1, 1.5, 1.4], 3),  # the better ones are not kept
        ([False, True, True, False], [5.0, NAN, 2.0, 6.0], 2),  # worker 1 had no frames
        ([True, True, False, False], [NAN, NAN, 9.0, NAN], 0),  # no loss to go by
    ],
)
def test_who_is_left_out_goes_on_from_the_best(processes: int, kept: list[bool], loss: list[float], best: int) -> None:
    every = random_models(4, 6, 1)
    every[~torch.tensor(kept)] = torch.nan

    def job(transport: Transport) -> None:
        group = WorkerGroup(4, transport)
        models = Models(every[list(group.local_workers)].clone())
        of = begin_rounds(models, transport=transport, workers=4).synchronizer
        of.synchronize(models, sync_info([8] * 4, loss=loss, valid=kept))
        for row, worker in zip(models.parameters, group.local_workers, strict=True):
            assert torch.equal(row, every[worker if kept[worker] else best])
        assert models.changes == 1
        assert of.algorithm.members == np.flatnonzero(kept).tolist()
        assert of.bytes_per_worker == models.parameters[0].nbytes
        of.synchronize(models, sync_info([8] * 4, 1))
        assert of.algorithm.members == [0, 1, 2, 3] and models.changes == 1

    together(processes, job)


def test_a_checkpoint_knows_the_members() -> None:
    models = Models(random_models(3, 5, 0))
    of, again = begin_rounds(models), begin_rounds(models)
    of.synchronizer.synchronize(models, sync_info([8] * 3, loss=[1.0, 2.0, NAN], valid=[True, True, False]))
    again.load_state_dict(of.state_dict())
    assert again.algorithm.members == [0, 1]
