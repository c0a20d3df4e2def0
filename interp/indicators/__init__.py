"""What is measured at a checkpoint: one file an indicator, behaviour included. `interp.measure.observe` says what a file
contains."""
