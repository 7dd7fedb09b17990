"""EC-DNN's compression: workers learn pseudo-labels that the ensemble gives to the frames they are about to see.

After a synchronization every worker's next minibatches are labelled by all models, which are sent one after the other;
then it trains on them with two losses, see ensemble.py. A checkpoint in between holds the pseudo-labels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from asr_parallel.parallel.ecdnn.batches import Batches, Place
from asr_parallel.parallel.ecdnn.soft_labels import SoftLabels
from asr_parallel.record.timer import Timer

if TYPE_CHECKING:
    from torch import Tensor

    from asr_parallel.nnet.objectives import Soft
    from asr_parallel.nnet.outputs import Outputs
    from asr_parallel.nnet.stacked import StackedNetwork
    from asr_parallel.parallel.ecdnn.ensemble import Ensemble

BLOCK_FRAMES = 2048  # labelled by a model at once

LABELLED_BYTES = 256 << 20  # of frames and their posteriors in a process at once; for what is more models come again

LOCAL, EXCHANGE, LABEL, COMPRESS, OTHER = "local", "exchange", "label", "compress", "other"


def labelling_turns(minibatches: int, bytes_each: float, limit: float = LABELLED_BYTES) -> int:
    """Return how many times all models must be sent to label minibatches of so many bytes each."""
    at_once = max(1, limit // max(1.0, bytes_each))
    return max(1, int(-(-minibatches // at_once)))


class Compression:
    """The hook that labels the minibatches of R of K workers and passes them to the training loop.

    A process holds beside its own models: two that are received and one that labels (3 * 4 P bytes, and 2 P with bf16
    products), with overlap its own as they were at the synchronization (R * 4 P), LABELLED_BYTES at most of frames and
    their posteriors (or a minibatch of each worker), memory for the forward pass of BLOCK_FRAMES, and the pseudo-labels
    of R * m * B frames (see SoftLabels). Not K models, whatever K is.

    phases: seconds by phase: local training, exchange (of models or posteriors, with waiting for a synchronization),
        labelling, compression, and other work of the trainer.
    """

    def __init__(
        self,
        algorithm: Ensemble,
        outputs: Outputs,
        weight: float,
        network: StackedNetwork,
        batches: Batches,
        in_common: Batches | None,
        labelled_bytes: int = LABELLED_BYTES,
    ) -> None:
        """Allocate the pseudo-labels.

        Args:
            algorithm: started.
            outputs: how the models' outputs are averaged, and at which temperature.
            weight: lambda, of the pseudo-labels' loss.
            batches: of this process's workers.
            in_common: of all frames, as one worker: for an exchange of posteriors.

        Raises:
            ValueError: with overlap, a period is too short for all models to be received.
        """
        from asr_parallel.nnet.stacked import StackedNetwork

        group = algorithm.group
        self._algorithm, self._outputs, self._network, self._group = algorithm, outputs, network, group
        self._weight = weight
        self._batches, self._in_common = batches, in_common
        self._epoch, self._total = batches.minibatches_per_epoch, algorithm.epochs * batches.minibatches_per_epoch
        assert algorithm.period is not None
        self._period, self._length, self._relabelled = algorithm.period, algorithm.length, algorithm.relabelled
        self._teacher = StackedNetwork(network.spec, 1, network.device, network.dtype)
        spec, rows = network.spec, batches.minibatch
        replicas = 1 if in_common is not None else len(group.local_workers)
        each = rows * 4 * (spec.num_pdfs + spec.input_dim)
        # In how many turns models come by must not differ between processes: as if products were float32, and workers
        # as many as in the process with most. With overlap it decides when there are labels, which must not depend on
        # the number of processes: as if all workers were in one
        together = group.num_workers if algorithm.overlap else -(-group.num_workers // group.transport.size)
        self._at_once = max(1, labelled_bytes // (each * (1 if in_common is not None else together)))
        turns = -(-self._relabelled // self._at_once) * group.num_workers
        self._lag = turns if algorithm.overlap else 0  # minibatches until all models have come by, one at a time
        if self._lag + self._length > self._period:
            raise ValueError(
                f"overlap: {self._lag} minibatches until all models have come, {self._length} of compression: expected"
                f" a period of at least {self._lag + self._length}, not {self._period}"
            )
        self._soft = SoftLabels.zeros(
            (replicas, self._relabelled, rows), spec.num_pdfs, algorithm.options.top, network.device
        )
        state = {"pseudo_indices": self._soft.indices, "pseudo_probabilities": self._soft.probabilities}
        if in_common is not None:
            algorithm.shared |= {name: tensor[0] for name, tensor in state.items()}
        else:
            algorithm.per_worker |= state
        self._local_params = network.parameters
        if algorithm.overlap:
            self._local_params = algorithm.per_worker["local_params"] = network.parameters.clone()
        self._labelling: Generator[None] = (None for _ in ())
        self.phases = Timer(network.device, LOCAL, EXCHANGE, LABEL, COMPRESS, OTHER)

    def stream(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor, Soft | None]]:
        """Yield the minibatches of an epoch from `first` on: frames, labels, and pseudo-labels or None."""
        from asr_parallel.nnet.objectives import Soft

        turns = [self._turn(epoch * self._epoch + k) for k in range(first, self._epoch)]
        places = [self._place(epoch, k, turn) for k, turn in enumerate(turns, first)]
        own = self._batches.at([place for place in places if place is not None])
        common: Iterator[tuple[Tensor, Tensor]] = iter(())
        for k, (turn, place) in enumerate(zip(turns, places, strict=True), first):
            if turn is None:
                self.phases.enter(LOCAL)
                yield *next(own), None
                continue
            self.phases.enter(COMPRESS)
            if place is None:
                if turn == 0 or k == first:
                    common = self._common((epoch * self._epoch + k) // self._period, turn)
                spliced, labels = self._for_all(*next(common), k)
            else:
                spliced, labels = next(own)
            target = self._soft.part(slice(None), turn % self._relabelled).dense()
            yield spliced, labels, Soft(target, self._weight, self._outputs.temperature)

    def after_sync(self, done: int) -> None:
        """Begin to label, right after a synchronization.

        Args:
            done: minibatches of a worker since the training began.
        """
        self.close()
        if self._algorithm.overlap:
            self._local_params.copy_(self._network.parameters)
        self._labelling = self._label(done)
        if not self._algorithm.overlap:
            for _ in self._labelling:
                pass

    def after_batch(self) -> None:
        """Take in the next model, with overlap. To be called after every minibatch without synchronization."""
        next(self._labelling, None)

    def restore(self, done: int) -> None:
        """Go on from a checkpoint, when the algorithm has loaded its state. Arguments as for `after_sync`."""
        since = done % self._period
        if done >= self._period and since < self._lag:
            self._labelling = self._label(done - since)
            for _ in range(since):
                self.after_batch()

    def close(self) -> None:
        """Stop labelling."""
        self._labelling.close()

    def _turn(self, position: int) -> int | None:
        """Return which minibatch of a compression is at this position of the training; None: it is none of one."""
        turn = position % self._period - self._lag
        if position < self._period or not 0 <= turn < self._length:
            return None
        again = position - turn + turn % self._relabelled
        before = again // self._epoch < position // self._epoch
        if before and self._in_common is None and again % self._epoch >= self._batches.counts.min():
            return None  # a worker that has frames again, in the next epoch, had none there
        return turn

    def _place(self, epoch: int, k: int, turn: int | None) -> Place | None:
        """Return the place of a worker's data of this minibatch; None: they are those in common."""
        if turn is None or turn < self._relabelled:
            return None if turn is not None and self._in_common is not None else (epoch, k)
        if self._in_common is not None:
            return None
        again = epoch * self._epoch + k - turn + turn % self._relabelled
        return divmod(again, self._epoch)

    def _common(self, number: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the frames in common of a compression from its minibatch `first` on."""
        assert self._in_common is not None
        return self._in_common.at([(number, turn % self._relabelled) for turn in range(first, self._length)])

    def _for_all(self, spliced: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return a minibatch in common for each worker that has data of its own left."""
        import torch

        replicas = len(self._group.local_workers)
        spliced, labels = spliced.repeat(replicas, 1, 1), labels.repeat(replicas, 1)
        active = self._batches.active(k)
        if active is not None:
            spliced[~active] = torch.nan
        return spliced, labels

    def _label(self, done: int) -> Generator[None]:
        """Make the pseudo-labels of a compression, model by model."""
        first, number = done + self._lag, done // self._period
        count = min(self._relabelled, self._total - first)  # the training may end before
        for start in range(0, count, self._at_once):
            stop = min(start + self._at_once, count)
            if self._in_common is not None:
                places = [(number, turn) for turn in range(start, stop)]
                yield from self._label_common(self._read(self._in_common, places), start)
            else:
                places = [divmod(first + turn, self._epoch) for turn in range(start, stop)]
                yield from self._label_own(self._read(self._batches, places), start)

    def _read(self, batches: Batches, places: list[Place]) -> list[tuple[Tensor, Tensor]]:
        with self.phases.during(LABEL):
            return list(batches.at(places))

    def _label_own(self, frames: list[tuple[Tensor, Tensor]], start: int) -> Generator[None]:
        """Yield label minibatches of every worker's own by all models."""
        from asr_parallel.parallel.worker_group import every_model

        members = self._algorithm.members
        totals = [self._zeros(spliced) for spliced, _ in frames]
        models = every_model(self._group, self._local_params, members)
        for worker in members:
            with self.phases.during(EXCHANGE):
                _, model = next(models)
            with self.phases.during(LABEL):
                self._teacher.take(model)
                for (spliced, _), total in zip(frames, totals, strict=True):
                    for span in self._pupils(worker):
                        self._add_output(spliced[span].flatten(0, 1), total[span].flatten(0, 1), 1 / len(members))
            if worker == members[-1]:  # now and not when asked for more: with overlap nobody may ask
                self._algorithm.own_bytes += model.nbytes
                with self.phases.during(LABEL):
                    for turn, total in enumerate(totals, start):
                        posterior = self._outputs.posterior(self._mean_of_teachers(total))
                        self._soft.part(slice(None), turn).put(posterior)
            yield

    def _add_output(self, rows: Tensor, total: Tensor, weight: float) -> None:
        """Add what the present teacher makes of (N, dim) rows to their (N, pdfs) totals."""
        for some, sum_of_some in zip(rows.split(BLOCK_FRAMES), total.split(BLOCK_FRAMES), strict=True):
            logits = self._teacher.logits(some.unsqueeze(0))[0]
            sum_of_some.add_(self._outputs.of_one(logits), alpha=weight)

    def _pupils(self, worker: int) -> list[slice]:
        """Return the replicas here whose frames a worker's model labels: all, or all but that worker's own."""
        own = list(self._group.local_workers)
        if not self._algorithm.taught_by_others or worker not in own:
            return [slice(None)]
        row = own.index(worker)
        return [span for span in (slice(row), slice(row + 1, len(own))) if len(own[span])]

    def _mean_of_teachers(self, total: Tensor) -> Tensor:
        """Return (R, B, pdfs) means over the teachers of each replica, from sums over members by their number."""
        members = self._algorithm.members
        if self._algorithm.taught_by_others:
            rows = [row for row, worker in enumerate(self._group.local_workers) if worker in members]
            total[rows] *= len(members) / (len(members) - 1)
        return total

    def _label_common(self, frames: list[tuple[Tensor, Tensor]], start: int) -> Generator[None]:
        """Yield label minibatches in common by each model where it is; its top posteriors are sent."""
        members, outputs, transport = self._algorithm.members, self._outputs, self._group.transport
        totals = [self._zeros(spliced)[0] for spliced, _ in frames]
        shape = (len(frames), frames[0][0].shape[1])
        empty = SoftLabels.zeros(shape, self._soft.num_pdfs, self._algorithm.options.top, self._network.device)
        with self.phases.during(LABEL):  # by all processes at the same time, before any of them sends
            own = {
                worker: self._topk(row, frames)
                for row, worker in enumerate(self._group.local_workers)
                if worker in members
            }
        for worker in members:
            received = own.pop(worker, empty)
            with self.phases.during(EXCHANGE):
                source = self._group.rank_of(worker)
                waits = [transport.start_broadcast(part, source) for part in (received.indices, received.probabilities)]
                for wait in waits:
                    wait()
            with self.phases.during(LABEL):
                for n, total in enumerate(totals):
                    total.add_(outputs.of_posterior(received.part(n).dense()), alpha=1 / len(members))
            if worker == members[-1]:  # as in _label_own
                self._algorithm.own_bytes += received.nbytes
                with self.phases.during(LABEL):
                    for turn, total in enumerate(totals, start):
                        self._soft.part(slice(None), turn).put(outputs.posterior(total)[None])
            yield

    def _topk(self, row: int, frames: list[tuple[Tensor, Tensor]]) -> SoftLabels:
        """Return the top posteriors of minibatches in common by the model in a row."""
        shape = (len(frames), frames[0][0].shape[1])
        received = SoftLabels.zeros(shape, self._soft.num_pdfs, self._algorithm.options.top, self._network.device)
        self._teacher.take(self._local_params[row])
        for n, (spliced, _) in enumerate(frames):
            logits = self._teacher.logits(spliced)[0]
            received.part(n).put(self._outputs.posterior(self._outputs.of_one(logits)))
        return received

    def _zeros(self, spliced: Tensor) -> Tensor:
        """Return totals for frames, (R, B, pdfs)."""
        import torch

        return torch.zeros(*spliced.shape[:2], self._soft.num_pdfs, device=self._network.device)
