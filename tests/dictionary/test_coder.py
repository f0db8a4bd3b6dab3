"""`OMPCoder`: scikit-learn's conventions, and the codes of orthogonal matching pursuit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.decomposition import SparseCoder
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from hf_reprogram import InputError
from hf_reprogram.dictionary import OMPCoder


@parametrize_with_checks([OMPCoder(), OMPCoder(tol=0.01)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture
def atoms():
    rows = np.random.default_rng(0).normal(size=(60, 40))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def targets():
    return np.random.default_rng(1).normal(size=(10, 40))


@pytest.mark.parametrize("k", [None, 7])
def test_same_codes_as_scikit_learns_coder(k, atoms, targets):
    found = OMPCoder(k).fit(atoms).transform(targets)
    np.testing.assert_allclose(found, SparseCoder(atoms, transform_n_nonzero_coefs=k).transform(targets), atol=1e-10)
    assert ((found != 0).sum(1) == (k or 4)).all()


def test_down_to_a_squared_error(atoms, targets):
    coder = OMPCoder(tol=2.0).fit(atoms)
    left = targets - coder.inverse_transform(coder.transform(targets))
    assert (np.square(left).sum(1) <= 2.0).all()


def test_the_atoms_are_kept_as_they_were(atoms, targets):
    coder = OMPCoder(3).fit(atoms)
    before = coder.transform(targets)
    atoms[:] = 0
    np.testing.assert_array_equal(coder.transform(targets), before)


@pytest.mark.parametrize(
    ("coder", "message"),
    [
        (OMPCoder(61), "n_nonzero_coefs is 61: .* from 1 to 60"),
        (OMPCoder(0), "n_nonzero_coefs is 0"),
        (OMPCoder(3, tol=1.0), "give one of them"),
        (OMPCoder(tol=-1.0), "tol is -1.0"),
    ],
)
def test_fit_refuses_what_transform_could_not_do(coder, message, atoms):
    with pytest.raises(InputError, match=message):
        coder.fit(atoms)


def test_scikit_learn_is_imported_only_for_the_estimators():
    code = "import sys, hf_reprogram.dictionary as d; sk = 'sklearn' in sys.modules; d.KSVD; assert not sk"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_given_dictionary_stays_in_a_pipeline(atoms, targets):
    pipeline = make_pipeline(OMPCoder(3, dictionary=atoms), Ridge()).fit(targets, targets[:, 0])
    coder = pipeline[0]
    np.testing.assert_array_equal(coder.components_, atoms)
    np.testing.assert_array_equal(coder.transform(targets), OMPCoder(3).fit(atoms).transform(targets))
    assert clone(coder).get_params()["dictionary"] is not None
    with pytest.raises(InputError, match=r"The samples are \d+ wide and the atoms 2: both need the same width"):
        OMPCoder(1, dictionary=np.eye(2)).fit(targets)


def test_codes_are_checked_before_they_are_turned_back(atoms, targets):
    coder = OMPCoder(3).fit(atoms)
    codes = coder.transform(targets)
    np.testing.assert_allclose(coder.inverse_transform(csr_matrix(codes)), coder.inverse_transform(codes))
    with pytest.raises(InputError, match=f"There are 5 codes per sample and {len(atoms)} atoms"):
        coder.inverse_transform(codes[:, :5])
    for wrong, message in (
        (codes * np.nan, "contains NaN"),
        (codes[0], "Expected 2D array"),
        ([["a"]], "The codes are texts"),
    ):
        with pytest.raises(ValueError, match=message):
            coder.inverse_transform(wrong)
