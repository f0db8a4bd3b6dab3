"""K-SVD: planted dictionaries, degenerate samples, scikit-learn's conventions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import parametrize_with_checks

from hf_reprogram import InputError
from hf_reprogram.dictionary import KSVD


@parametrize_with_checks([KSVD(max_iter=5, random_state=0)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def planted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """50 atoms in 20 dimensions, and 1,500 samples of three atoms each with noise 20 dB below."""
    random = np.random.default_rng(seed)
    atoms = random.normal(size=(50, 20))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((1500, 50))
    for row in codes:
        row[random.choice(50, 3, replace=False)] = random.normal(size=3)
    samples, noise = codes @ atoms, random.normal(size=(1500, 20))
    return atoms, samples + 0.1 * noise * np.linalg.norm(samples) / np.linalg.norm(noise)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_dictionary_is_found(seed, dtype):
    atoms, samples = planted(seed)
    found = KSVD(50, n_nonzero_coefs=3, random_state=0).fit(samples.astype(dtype))
    assert found.components_.dtype == dtype
    assert (np.abs(atoms @ found.components_.T).max(1) > 0.99).mean() >= 0.9


def test_attributes_agree_with_one_another():
    samples = planted(0)[1]
    found = KSVD(30, n_nonzero_coefs=3, max_iter=10, random_state=0).fit(samples)
    np.testing.assert_allclose(np.linalg.norm(found.components_, axis=1), 1)
    assert found.n_iter_ == len(found.error_) <= 10
    assert found.error_[-1] < found.error_[0]
    codes = found.transform(samples)
    assert codes.shape == (1500, 30)
    assert ((codes != 0).sum(1) <= 3).all()
    left = samples - found.inverse_transform(codes)
    assert np.sqrt(np.square(left).mean()) == pytest.approx(found.error_.min(), rel=0.02)


def test_no_two_atoms_are_the_same_though_samples_are():
    samples = np.repeat(planted(0)[1][:60], 20, axis=0)
    atoms = KSVD(40, n_nonzero_coefs=2, max_iter=30, random_state=0).fit(samples).components_
    assert np.triu(np.abs(atoms @ atoms.T), 1).max() < 0.99


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_scale_of_the_samples_does_not_matter(scale):
    samples = planted(0)[1][:200]
    plain, scaled = (KSVD(10, max_iter=5, random_state=0).fit(given) for given in (samples, scale * samples))
    np.testing.assert_allclose(scaled.components_, plain.components_, atol=1e-6)
    np.testing.assert_allclose(scaled.error_, scale * plain.error_)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 8),
    st.integers(1, 30),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.sampled_from([0, 5, 30]),
)
def test_nothing_is_nan_on_degenerate_samples(seed, rows, width, n_atoms, dtype, whole, spread):
    random = np.random.default_rng(seed)
    samples = random.normal(size=(rows, random.integers(1, width + 1)))
    samples = samples @ random.normal(size=(samples.shape[1], width))  # low rank
    if whole:  # ties, repeated and zero rows
        samples = samples.round()
    samples = (samples * 10.0 ** (spread * random.uniform(-1, 0, size=(rows, 1)))).astype(dtype)
    k = int(random.integers(1, n_atoms + 1))
    found = KSVD(n_atoms, n_nonzero_coefs=k, max_iter=8, random_state=seed).fit(samples)
    assert found.components_.shape == (n_atoms, width)
    np.testing.assert_allclose(np.linalg.norm(found.components_, axis=1), 1, rtol=1e-3)
    assert np.isfinite(found.error_).all()
    assert np.isfinite(found.transform(samples)).all()
    assert found.error_.min() <= 1.01 * np.sqrt(np.square(samples.astype(np.float64)).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_components": 0}, "n_components is 0"),
        ({"n_components": 2.5}, "n_components is 2.5"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"tol": 1.0}, "tol is 1.0"),
        ({"tol": "little"}, "tol is 'little'"),
        ({"n_nonzero_coefs": 9}, "n_nonzero_coefs is 9: .* from 1 to 8"),
        ({"n_nonzero_coefs": 0}, "n_nonzero_coefs is 0"),
    ],
)
def test_parameters_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        KSVD(**{"n_components": 8, **change}).fit(np.ones((20, 4)))


def test_a_generator_of_numpy_is_taken():
    samples = np.random.default_rng(1).normal(size=(20, 5))
    first, second = (KSVD(3, max_iter=2, random_state=np.random.default_rng(0)).fit(samples) for _ in range(2))
    np.testing.assert_array_equal(first.components_, second.components_)
