"""Figures of a trained model: importance-weighted likelihood, mutual information, active units, amortization gap."""

from sa_vae_tf.evaluation.importance import ImportanceWeighted, importance_weighted_nll
from sa_vae_tf.evaluation.metrics import (
    AmortizationGap,
    MutualInformation,
    active_units,
    amortization_gap,
    mutual_information,
)
from sa_vae_tf.evaluation.true_likelihood import nll_by_prior_samples, nll_by_quadrature

__all__ = [
    "AmortizationGap",
    "ImportanceWeighted",
    "MutualInformation",
    "active_units",
    "amortization_gap",
    "importance_weighted_nll",
    "mutual_information",
    "nll_by_prior_samples",
    "nll_by_quadrature",
]
