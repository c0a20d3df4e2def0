"""Every constant of the instrument, each with its reason. What a user may turn is in `verdict.Limits`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Constants of the detector `sigmoid_fit`, of spikes, and of the comparison with companions."""

    fewest: int = 5
    """Checkpoints that a curve needs: a level, a rise (centre, width, height) and one to spare."""
    detail: float = 0.01
    """Shapes are not told apart below this share of what the curve covers: no published form of a rise holds better."""
    term_price: tuple[float, float] = (3.0, 4.0)
    """A term must gain 3 ln n + 4 in n ln(SSE): three parameters of BIC, and the search over places and widths."""
    most_terms: int = 6
    """And at most one for four checkpoints: more describe noise."""
    beyond: tuple[float, ...] = (0.3, 0.1, 0.03)
    """Levels beyond the fit's, in its heights, between which errors may be binomial."""
    uneven: float = 4.0
    """Twice the log-likelihood by which uneven errors must be likelier than even ones (two parameters of AIC)."""
    least_error: float = 0.1
    """Share of the mean variance that is added to known ones: a score of 0 of n is not certain."""
    tame: float = 1.5
    """No term moves further than this times the data: terms that cancel each other describe nothing."""
    contrast: float = 5.0
    """A stretch slower than 1/5 of the fastest part is plateau or drift beside it: where a logistic has 5 % left."""
    plateau_share: float = 0.06
    """Checkpoints below this share of a rise show the plateau before it: by a logistic's 1/5 speed (5.3 %)."""
    confirm: int = 2
    """Checkpoints that must show a plateau on either side: one alone could be a spike."""
    fit_level: float = 0.9
    """A reading fits where its sum of squares is within Student's quantile of the best one's (a profile likelihood); a
    change as wide as the limit of `abrupt` is then called wrongly in 5 % on either side."""
    alike: float = 1.1
    """Widths are not told apart to within a tenth: the shapes' own 10-90 % widths differ by more (measured)."""
    band_level: float = 0.95
    """The same for the midpoint's band."""
    shape_level: float = 0.95
    """A shape is open where its excess is below the chi-squared quantile with the two parameters (place, width) that
    it was fitted by."""
    off_curve: float = 2.5
    """A checkpoint further than so many standard deviations from the fitted rise counts by its own value."""
    narrowest: float = 1e-3
    """Decades: below it two checkpoints are one for every purpose here."""
    widest: float = 2.0
    """Widest rise that is tried, in ranges of the grid: a straight line to within a percent."""
    widest_term: float = 1.25
    """And of the fit's sigmoids: wider ones look alike."""
    apart: float = 0.003
    """Least share of a term that the others do not explain already: closer ones cancel each other."""
    term_ratio: float = 1.6
    term_spacing: float = 1 / 3
    """Lattice of the fit's sigmoids: neighbours overlap by .99 (measured), and what is chosen is polished."""
    paired: int = 160
    """Of them, how many are tried as pairs: the best pair is settled among all afterwards."""
    reading_ratio: float = 1.35
    reading_spacing: float = 1 / 4
    """Lattice of single rises, refined around the best before anything is said."""
    long: int = 240
    """Curves longer than this are judged by so many of their checkpoints, and by all around a change: one of 240 takes .3 s, and
    four times the memory at twice the length (measured)."""
    reproduced: float = 0.9
    """Share of what the jump's own fit explains that a map has to: Schaeffer et al. show no smaller agreement."""
    misfit: float = 0.03
    """Root mean square, of the rise, by which a map may miss beyond noise: p^L of a mean is not the mean of p^L."""
    slow: float = 0.1
    """A companion that climbs through the jump at less than this share of its mean speed stands still there."""
    above_one: float = 0.03
    """Share of its range by which noise may lift a log-probability above 0."""
    lengths: tuple[float, ...] = tuple(1.15**k for k in range(31))
    """Answers of 1 to 66 tokens: neighbours differ by less than what misfit allows."""
    fewest_runs: int = 2
    most_runs: int = 12
    """Other runs that a map is fitted to."""
    asked_runs: int = 5
    """Other runs in which a companion has to tell more than the clock too. Three to six runs leave chance little room."""
    beats: float = 0.5
    """A companion beats the clock where it leaves less than half of what the clock leaves unexplained."""
    strong: float = 0.9
    """Strongest autocorrelation of errors that is believed: beyond it a curve of 50 checkpoints is one drift."""
    as_known: float = 2.5
    """Mean squares that known errors of such autocorrelation may leave, of their variance: 97.5 % of 50 errors."""
    tie: float = 0.01
    """And by at least this share: two maps that both leave nothing are a tie."""
    spike: float = 5.0
    """Standard deviations by which a spike stands out: 1 in 10^6 for normal errors, some curves have 10^4 points."""


INSTRUMENT = Instrument()
