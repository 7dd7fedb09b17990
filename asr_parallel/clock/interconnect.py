"""The cost of messages by the alpha-beta model: a latency each, and their bytes over the network's speed.

Sources of the formulas, for K workers and messages of n bytes (adding numbers up counts as nothing):

    Thakur, Rabenseifner & Gropp, "Optimization of collective communication operations in MPICH", 2005
    Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009: the ring

Their beta is seconds a byte; here it is bytes a second, as networks are sold.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interconnect:
    """A network on which any two workers can talk at full speed, whatever the others do.

    alpha: seconds a message takes beside its bytes (latency).
    beta: bytes a second that a worker can send and, at the same time, receive.
    source: where the two numbers are from.
    """

    name: str
    alpha: float
    beta: float
    source: str

    def __post_init__(self) -> None:
        """Raise ValueError when out of range."""
        if not 0 <= self.alpha < math.inf or not self.beta > 0:
            raise ValueError(
                f"network {self.name}: alpha {self.alpha} seconds, beta {self.beta} bytes/s: expected at least 0, and"
                " above 0"
            )

    def message(self, size: float) -> float:
        """Return seconds of one message of so many bytes."""
        return self.alpha + size / self.beta


ETHERNET = 1448 / 1538  # bytes of data in a full frame of 1500, over those on the wire (TCP with time stamps)

PRESETS = {
    network.name: network
    for network in (
        Interconnect(
            "1gbe", 23e-6, ETHERNET * 1e9 / 8,
            "line rate, 1448 of 1538 bytes; 23 us: NetPIPE over TCP, Molecular Biology and Genetics, Thrace",
        ),
        Interconnect(
            "10gbe", 20e-6, ETHERNET * 10e9 / 8,
            "line rate, 1448 of 1538 bytes; 20 us end to end: Hurwitz & Feng, Hot Interconnects 11, 2003",
        ),
        Interconnect("ib100", 1.05e-6, 96.8e9 / 8, "EDR InfiniBand of Azure's HC series: 1.05 us, 96.8 Gb/s by MPI"),
        Interconnect(
            "nvlink", 3.4e-6, 235e9,
            "A100 as NCCL models it (src/graph/tuning.cc at 01afd20): 3.4 us a step of a ring, 235 GB/s at most",
        ),
        Interconnect("wan", 50e-3, 100e6 / 8, "by definition: 100 Mb/s and 50 ms"),
    )
}  # fmt: skip


def ring(network: Interconnect, workers: int, size: float) -> float:
    """Return seconds of an all-reduce of `size` bytes in a ring: 2 (K - 1) messages of n / K bytes, in turn."""
    return 2 * (workers - 1) * network.message(size / workers)


def tree(network: Interconnect, workers: int, size: float) -> float:
    """Return seconds by recursive doubling: log2 K exchanges of all n bytes; two more where K is no power of two."""
    turns = workers.bit_length() - 1
    return (turns if workers == 1 << turns else turns + 2) * network.message(size)


def halving(network: Interconnect, workers: int, size: float) -> float:
    """Return seconds by Rabenseifner's algorithm: reduce-scatter by halving, all-gather by doubling.

    That is 2 lg K messages and 2 (K-1)/K n bytes.

    Where K is no power of two, the workers above it hand theirs to others before and get the sum after.
    """
    turns = workers.bit_length() - 1
    power = 1 << turns
    butterfly = 2 * turns * network.alpha + 2 * (power - 1) / power * size / network.beta
    return butterfly if workers == power else butterfly + 2 * network.message(size)


def gather(network: Interconnect, workers: int, size: float) -> float:
    """Return seconds by gathering all bytes in one worker, which adds them up and sends the sum (`broadcast`)."""
    turns = (workers - 1).bit_length()
    return turns * network.alpha + (workers - 1) * size / network.beta + broadcast(network, workers, size)


def server(network: Interconnect, workers: int, size: float) -> float:
    """Return seconds by a parameter server whose one port K workers share: all bytes go in, and as many come out."""
    return 2 * (network.alpha + workers * size / network.beta) if workers > 1 else 0.0


COLLECTIVES = {"ring": ring, "tree": tree, "halving": halving, "gather": gather, "server": server}
BEST = ("ring", "tree", "halving")  # libraries choose among them by the size


def all_reduce(network: Interconnect, workers: int, size: float, how: str = "best") -> float:
    """Return seconds until all workers have the sum of all workers' `size` bytes.

    Args:
        how: of COLLECTIVES, or "best": the fastest of ring, tree and halving.

    Raises:
        ValueError: another name.
    """
    if how != "best" and how not in COLLECTIVES:
        raise ValueError(f"unknown collective {how!r}; expected best or one of {', '.join(COLLECTIVES)}")
    return min(COLLECTIVES[name](network, workers, size) for name in (BEST if how == "best" else (how,)))


def broadcast(network: Interconnect, workers: int, size: float) -> float:
    """Return seconds until all have one worker's bytes, by a binomial tree or by scatter and all-gather."""
    turns = (workers - 1).bit_length()
    scattered = (turns + workers - 1) * network.alpha + 2 * (workers - 1) / workers * size / network.beta
    return min(turns * network.message(size), scattered)
