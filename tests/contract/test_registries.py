"""Every registered part has a case here, so that none goes without the contract; a third party's own are excluded."""

from __future__ import annotations

import inspect
from collections.abc import Collection

import pytest

from hf_reprogram import ReprogrammedModel
from hf_reprogram.baselines import BASELINES
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.mappings.dense import Dense
from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import MODALITIES, every_modality
from hf_reprogram.registry import Registry
from hf_reprogram.sources.families import SOURCE_FAMILIES, family_of
from hf_reprogram.transforms import TRANSFORMS
from tests.contract import baseline_cases, cases
from tests.contract.matrix import CASES, loaded, ours

TABLES = [
    (TRANSFORMS, cases.TRANSFORMS, "TRANSFORMS in tests/contract/cases.py"),
    (MAPPINGS, cases.MAPPINGS, "MAPPINGS in tests/contract/cases.py"),
    (METHODS, cases.METHOD_CASES, "METHOD_CASES in tests/contract/cases.py"),
    (MODALITIES, cases.MODALITIES, "MODALITIES in tests/contract/cases.py"),
    (SOURCE_FAMILIES, cases.FAMILIES, "FAMILIES in tests/contract/cases.py"),
    (BASELINES, baseline_cases.BASELINE_CASES, "BASELINE_CASES in tests/contract/baseline_cases.py"),
]
BY_KIND = pytest.mark.parametrize(("registry", "table", "where"), TABLES, ids=[table[0].kind for table in TABLES])


def check(registry: Registry, table: Collection[str], where: str) -> None:
    """Fail with the names that have no case, and where to add one."""
    missing = [name for name in ours(registry) if name not in table]
    assert not missing, f"The {registry.kind} {', '.join(missing)} has no case: add one to {where}."
    unknown = [name for name in table if name not in registry.names()]
    assert not unknown, f"{where} has a case of {', '.join(unknown)}, which is not registered: remove it."


@BY_KIND
def test_every_registered_part_has_a_case(registry, table, where):
    check(registry, table, where)


@BY_KIND
def test_a_part_without_a_case_is_named_with_where_to_add_it(registry, table, where, monkeypatch):
    monkeypatch.setitem(registry._entries, "brand_new", Dense)
    with pytest.raises(AssertionError, match=f"The {registry.kind} brand_new has no case: add one to") as failed:
        check(registry, table, where)
    assert where in str(failed.value)


def test_a_third_partys_part_needs_no_case(monkeypatch):
    theirs = type("Theirs", (Dense,), {"__module__": "their_package.mapping"})
    monkeypatch.setitem(MAPPINGS._entries, "brand_new", theirs)
    check(*TABLES[1])


def test_every_part_stands_in_the_matrix():
    assert {case.transform for case in CASES} >= {*ours(TRANSFORMS)}
    assert {case.mapping for case in CASES} >= {*ours(MAPPINGS)}
    assert {case.method for case in CASES} >= {*ours(METHODS)}
    assert {case.source for case in CASES} == {*cases.SOURCES} >= {*cases.FAMILIES.values()}
    assert len({str(case) for case in CASES}) == len(CASES)


def test_every_kind_of_source_and_all_that_it_offers_is_read():
    for name in cases.SOURCES:
        spec = loaded(name).source.spec
        same = [case for case in CASES if case.reads and loaded(case.source).source.spec.kind == spec.kind]
        assert {*spec.widths} - {"residual"} <= {case.reads for case in same}, name


def test_every_family_has_a_source_of_each_of_its_kinds():
    kinds = {loaded(name).source.spec.kind for name in cases.SOURCES}
    for family, source in cases.FAMILIES.items():
        assert isinstance(family_of(loaded(source).source.spec.kind), SOURCE_FAMILIES[family])
        assert {*SOURCE_FAMILIES[family].kinds} <= kinds, f"add a source of each kind of {family} to SOURCES"


def test_the_models_forward_takes_every_modality_by_name():
    """The Trainer drops the columns that the signature does not hold."""
    named = inspect.signature(ReprogrammedModel.forward).parameters
    assert {modality.takes for modality in every_modality()} <= {*named}


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_what_a_transform_takes_is_some_modality(name):
    assert TRANSFORMS[name].takes in {modality.takes for modality in every_modality()}
