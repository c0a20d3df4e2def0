"""One detector a file: `<name>.py` defines `<name>(curve, limits) -> Verdict`; nothing is registered."""
