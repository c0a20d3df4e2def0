"""One checkpoint seen once: what the shared passes keep, what is asked in text, and the scores of both."""
