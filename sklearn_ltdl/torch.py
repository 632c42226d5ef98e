"""Networks of PyTorch, for `regime_report` and `explain_as_kernel`; importing this imports torch."""

from sklearn_ltdl.diagnostics._torch import KeepFirstWeights, TorchNetwork

__all__ = ["KeepFirstWeights", "TorchNetwork"]
