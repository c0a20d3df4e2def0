"""Read or change what a forward pass computes: captures, interventions, streaming to disk."""
