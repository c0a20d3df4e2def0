"""Curve to jumps: when does a behaviour change, how wide is the change, and is it real?

One detector a file (`sigmoid_fit` is the default); `find_jumps` judges every curve of a table, `onset` a single one.
"""

from interp.jumps.find import find_jumps, onset
from interp.jumps.record import Jump, Jumps, format_jumps, jumps_json

__all__ = ["Jump", "Jumps", "find_jumps", "format_jumps", "jumps_json", "onset"]
