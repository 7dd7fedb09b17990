"""Workers that never synchronize."""

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.cost import Setting, StepCost, SyncCost
from asr_parallel.parallel.registry import register


@register(
    "none",
    paper="Sun et al., arXiv 1606.00575 (E-DNN)",
    rule="workers stay alone; the final model is the mean of theirs",
    use="lower bound for the others; members of an ensemble (--keep-workers)",
)
class Isolated(Algorithm):
    """K workers on their own (the members of E-DNN, Sun et al., arXiv 1606.00575): the lower bound of all algorithms.

    The final model is the mean of theirs, which shows why they should have been synchronized.
    """

    exchanges_models = False
    own_initial_models = True
    can_take_back_epochs = True
    supports = frozenset[str]()

    def cost(self, work: StepCost, setting: Setting) -> SyncCost:
        return SyncCost(None)
