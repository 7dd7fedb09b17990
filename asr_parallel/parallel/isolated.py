"""Workers that never meet."""

from asr_parallel.parallel.algorithm import Algorithm


class Isolated(Algorithm):
    """K workers on their own (the members of E-DNN, Sun et al., arXiv 1606.00575): the lower bound of all algorithms.

    The final model is the mean of theirs, which shows why they should have met.
    """

    def __init__(self, comm_dtype: str = "float32") -> None:
        super().__init__(None, comm_dtype=comm_dtype)
