"""scikit-learn's own checks of both estimators."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from hf_reprogram.dictionary import KSVD, OMPCoder


@parametrize_with_checks([OMPCoder(), OMPCoder(tol=0.01), KSVD(max_iter=5, random_state=0)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)
