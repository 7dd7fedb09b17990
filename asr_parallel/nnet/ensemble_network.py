"""Several networks that decode as one, in the folder they live in.

ensemble.json    how their outputs are averaged, and their names
log_prior.npy    (num_pdfs,) float32, of all together
0/ 1/ ...        a network each, see network.py: each decodes alone too
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.network import PRIOR_FILE, Network, log_priors, read_log_priors
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.record.files import atomic_file, read_json, write_json

ENSEMBLE_FILE = "ensemble.json"


@dataclass(frozen=True)
class EnsembleNetwork:
    """An ensemble as decoding needs it: K networks of one shape, made for the same features. log_prior (num_pdfs,)."""

    members: list[Network]
    outputs: Outputs
    log_prior: np.ndarray

    def log_posteriors(self, spliced: Tensor) -> Tensor:
        """Return (B, num_pdfs), the logarithm of the mean output, for windows (B, input_dim) float32.

        Longer windows have more outputs, see StackedNetwork.logits.
        """
        total: Tensor | None = None
        for member in self.members:
            output = self.outputs.of_one(member.logits(spliced))
            total = output if total is None else total.add_(output)
        assert total is not None
        return self.outputs.log_posterior(total / len(self.members))

    def to(self, device: torch.device | str) -> "EnsembleNetwork":
        """Return the same ensemble on a device."""
        return replace(self, members=[member.to(device) for member in self.members])

    @classmethod
    def open(cls, folder: Path) -> "EnsembleNetwork":
        """Open what `save_ensemble` wrote.

        Raises:
            ValueError: a file is missing, damaged, or does not fit the others.
        """
        path = folder / ENSEMBLE_FILE
        described = read_json(path)
        try:
            names, outputs = [str(name) for name in described["members"]], Outputs(described["average"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: does not describe an ensemble: {error}") from error
        if not names or any(not name.isdecimal() for name in names):
            raise ValueError(f"{path}: members {names}: expected numbers of workers, one at least")
        members = [Network.open(folder / name) for name in names]
        like = (members[0].spec, members[0].normalisation)
        if any((member.spec, member.normalisation) != like for member in members):
            raise ValueError(f"{folder}: its members are of different shapes, or of frames normalised otherwise")
        log_prior = read_log_priors(folder, members[0].spec.num_pdfs)
        return cls(members, outputs, log_prior)


def save_ensemble(folder: Path, workers: list[int], average: str, log_prior_of_each: list[np.ndarray]) -> None:
    """Describe networks that were saved in folder/NUMBER as one. The prior is the mean of theirs."""
    # A prior above 1 says that a pdf is never chosen
    shares = [np.where(prior > 0, 0.0, np.exp(np.minimum(prior, 0))) for prior in log_prior_of_each]
    with atomic_file(folder / PRIOR_FILE) as temp, temp.open("wb") as file:
        np.save(file, log_priors(np.mean(shares, axis=0)))
    write_json(folder / ENSEMBLE_FILE, {"average": average, "members": workers})
