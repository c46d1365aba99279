"""Quantiles of Student's t, which intervals of few processes or few passages are widened by."""

from __future__ import annotations

from statistics import NormalDist

T_975 = (
    4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
    2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052,
    2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5% quantiles of Student's t for 2 to 30 degrees of freedom (NIST e-Handbook, 1.3.6.7.2)."""


def student_t(degrees: int) -> float:
    """The 97.5% quantile of Student's t distribution, for at least two degrees of freedom."""
    return T_975[degrees - 2] if degrees - 2 < len(T_975) else NormalDist().inv_cdf(0.975)
