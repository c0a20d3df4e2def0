"""Tables from and to other people's tools: TensorBoard, Weights & Biases, trackio, a Trainer's state, a data set on a hub.
None of them is needed to read; none is imported before it is used to write."""

from interp.exchange.dataset import write_dataset
from interp.exchange.reading import is_log, read_logs
from interp.exchange.writing import write_logs

__all__ = ["is_log", "read_logs", "write_dataset", "write_logs"]
