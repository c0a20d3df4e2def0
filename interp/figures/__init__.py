"""Figures and short texts that results make of themselves: the one style, and drawings of plain arrays (plotly is imported with them)."""
