"""Bad input is an `InputError` of one sentence that says what to do, before any training."""

from __future__ import annotations

import pytest

from hf_reprogram import InputError
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.modalities import every_modality
from hf_reprogram.transforms import TRANSFORMS
from tests.contract import cases
from tests.contract.matrix import CASES, batch_of, cover, loaded, mapping_options, part_of

OF_TRANSFORMS = cover("transform", among=[case for case in CASES if case.transform])
OF_MAPPINGS = cover("mapping", among=[case for case in CASES if case.mapping])


def is_a_sentence(text: str) -> bool:
    """Whether a message is one line that ends as a sentence does."""
    return "\n" not in text and text[0].isupper() and text[-1] in ".?"


def refusals(part) -> list[str]:
    """What a part says of all the sources here that it does not fit."""
    said = []
    for name in cases.SOURCES:
        try:
            part.check(loaded(name).source.spec)
        except InputError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("case", OF_TRANSFORMS, ids=str)
def test_a_transform_refuses_a_source_that_it_does_not_fit_in_one_sentence(case):
    on = loaded(case.source)
    start = cases.TRANSFORMS[case.transform](on.source, on.tokenizer, case.reads)
    part = part_of(TRANSFORMS, start.options)
    part.check(on.source.spec)
    ours = type(part).__module__.startswith("hf_reprogram.")
    said = refusals(part)
    assert bool(said) == ours  # the third party's here checks nothing
    assert all(map(is_a_sentence, said))


@pytest.mark.parametrize("case", OF_MAPPINGS, ids=str)
def test_a_mapping_refuses_a_source_that_it_does_not_fit_in_one_sentence(case):
    spec = loaded(case.source).source.spec
    part = part_of(MAPPINGS, mapping_options(spec, case.mapping, case.reads))
    part.check(spec)
    said = refusals(part)
    assert said
    assert all(map(is_a_sentence, said))


@pytest.mark.parametrize("case", OF_TRANSFORMS, ids=str)
def test_a_batch_without_the_data_that_the_adapter_takes_is_refused_in_one_sentence(case):
    model, processor = case.make()
    takes = model.transform.takes
    batch, _ = batch_of(takes, processor, 2)
    for other in {modality.takes: batch[takes] for modality in every_modality() if modality.takes != takes}, {}:
        with pytest.raises(InputError, match=f"The argument {takes} of forward is missing") as error:
            model(**other)
        assert is_a_sentence(str(error.value))
        assert all(name in str(error.value) for name in other)


@pytest.mark.parametrize("registry", [TRANSFORMS, MAPPINGS], ids=lambda registry: registry.kind)
def test_a_misspelt_part_is_refused_with_the_nearest_name(registry):
    for name in registry.names():
        with pytest.raises(InputError) as error:
            registry[name + "x"]
        assert is_a_sentence(str(error.value))
        assert repr(name) in str(error.value)
