"""Token patches: the image they draw, that folding changes nothing, padding, bounds and refusals."""

from __future__ import annotations

import copy

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.sources.module import ModuleSource
from hf_reprogram.transforms.target_ids import occurring
from hf_reprogram.transforms.token_patches import TokenPatches, TokenPatchesOptions
from tests.support import tiny_vision
from tests.support.frozen import bytes_of
from tests.support.replicas import replica
from tests.support.tiny import on_the_left

SIDE, TOKENS, PAD = tiny_vision.SIDE, 7, 6


def options(patch_size=8, **more):
    return TokenPatchesOptions(TOKENS, PAD, patch_size, **{"height": SIDE, "width": SIDE, **more})


def make(patch_size=8, seed=0, std=1.0, **more):
    transform = TokenPatches(options(patch_size, **more))
    torch.manual_seed(seed)
    transform.reset(std)
    if transform.options.base_image:
        transform.base_image.random_(0, 256)
    return transform


def batch_of(rows, length=None):
    """Rows of ids, padded on the right with the pad token."""
    length = length or max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD] * (length - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


ROWS = [[0, 1, 2], [5, 5, 0, 3, 1], [4]]


def drawn(transform, rows) -> torch.Tensor:
    """The images pixel by pixel, from the formula in the module's docstring."""
    o = transform.options
    table, across = transform.table.detach(), o.width // o.patch_size
    images = torch.empty(len(rows), 3, o.height, o.width)
    for image, row in zip(images, rows, strict=True):
        for y in range(o.height):
            for x in range(o.width):
                place = (y // o.patch_size) * across + x // o.patch_size
                token = row[place] if place < len(row) else o.pad_id
                for c in range(3):
                    base = transform.base_image[c, y, x].item() / 255 if o.base_image else 0.5
                    moved = o.eps[c] * table[token, c, y % o.patch_size, x % o.patch_size].tanh().item()
                    image[c, y, x] = min(1.0, max(0.0, base + moved))
    return images


def made(transform, batch, source) -> torch.Tensor:
    """What it gives the source, patches or pixels."""
    (inputs,) = transform(batch, source).values()
    return inputs


def with_image(transform, batch, source):
    """The first layer's output, or the whole source's, without folding."""
    return source({"pixels": transform.image(transform.placed(batch))}, "logits")


# ------------------------------------------------------------------------------------------------------- the image


def test_three_tokens_by_hand():
    transform = TokenPatches(TokenPatchesOptions(4, 3, patch_size=1, height=2, width=2))
    with torch.no_grad():
        transform.table[:, :, 0, 0] = torch.tensor([[0.0, 1, -1], [9, 9, 9], [-9, 0, 9], [0.5, 0.5, 0.5]])
    tanh_1, tanh_half = 0.76159416, 0.46211716
    image = transform.image(transform.placed({"input_ids": torch.tensor([[2, 0, 1]])}))
    red = [[0.0, 0.5], [1.0, 0.5 + tanh_half / 2]]
    green = [[0.5, 0.5 + tanh_1 / 2], [1.0, 0.5 + tanh_half / 2]]
    blue = [[1.0, 0.5 - tanh_1 / 2], [1.0, 0.5 + tanh_half / 2]]
    torch.testing.assert_close(image, torch.tensor([[red, green, blue]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"patch_size": 4},
        {"height": 16, "width": 24},
        {"eps": [0.1, 0.2, 0.9]},
        {"eps": [0.1, 0.2, 0.9], "base_image": True, "patch_size": 16, "width": 64},
    ],
    ids=str,
)
def test_the_image_is_the_formula_pixel_by_pixel(more):
    transform = make(**more)
    batch = batch_of(ROWS, length=9)
    image = transform.image(transform.placed(batch))
    torch.testing.assert_close(image, drawn(transform, ROWS), rtol=0, atol=1e-6)


def test_a_base_image_moves_by_eps_at_most_and_stays_within_pixels():
    transform = make(eps=[0.04, 0.05, 0.06], base_image=True, std=5.0)
    with torch.no_grad():
        image = transform.image(transform.placed(batch_of(ROWS)))
    moved = image - transform.base_image / 255
    assert 0 <= image.min() < 1e-6
    assert 1 - 1e-6 < image.max() <= 1
    largest = moved.abs().amax((0, 2, 3))
    torch.testing.assert_close(largest, torch.tensor([0.04, 0.05, 0.06]), rtol=0, atol=1e-4)


def test_a_base_image_is_kept_as_bytes_and_is_no_parameter():
    transform = make(eps=[0.1] * 3, base_image=True)
    again = TokenPatches(transform.options)
    again.load_state_dict(transform.state_dict())
    assert set(transform.state_dict()) == {"table", "base_image"}
    assert [name for name, _ in transform.named_parameters()] == ["table"]
    assert again.base_image.dtype == torch.uint8
    assert torch.equal(again.base_image, transform.base_image)


# ------------------------------------------------------------------------------------------------------ the fold


@pytest.mark.parametrize("eps", [[0.5] * 3, [0.02, 0.05, 0.7]], ids=["unbounded", "bounded"])
@pytest.mark.parametrize("family", tiny_vision.PATCHED)
def test_folded_and_image_give_the_same_logits_and_gradients(family, eps):
    source = tiny_vision.make_source(family)
    transform = make(source.spec.patch_size, eps=eps)
    batch = batch_of(ROWS)
    assert set(transform(batch, source)) == {"patches"}
    found = []
    for run in (lambda: source(transform(batch, source), "logits"), lambda: with_image(transform, batch, source)):
        transform.zero_grad()
        logits = run()
        logits.log_softmax(-1)[:, 0].sum().backward()
        found.append((logits.detach(), transform.table.grad.clone()))
    (logits, gradient), (expected_logits, expected_gradient) = found
    assert (
        expected_logits[0] - expected_logits[1]
    ).abs().max() > 1e-2  # the texts differ, so that equality says something
    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=1e-5)
    scale = expected_gradient.abs().max()
    torch.testing.assert_close(gradient / scale, expected_gradient / scale, rtol=1e-4, atol=1e-5)
    assert scale > 0
    assert gradient.flatten(1).any(1).tolist() == [True] * 7
    with torch.no_grad():
        torch.testing.assert_close(source(transform(batch, source), "logits"), expected_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "convnext"])
def test_the_first_layers_output_is_the_same_to_rounding(family):
    source = tiny_vision.make_source(family)
    transform = make(source.spec.patch_size)
    layer = source._stem
    batch = batch_of(ROWS)
    with torch.no_grad():
        pixels = transform.image(transform.placed(batch))
        expected = layer(source._normalised(pixels)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(transform(batch, source)["patches"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "more"),
    [("resnet", {"patch_size": 4}), ("vit", {"patch_size": 4}), ("vit", {"patch_size": 8, "base_image": True})],
    ids=["no patches", "smaller patches", "base image"],
)
def test_where_nothing_can_be_folded_the_image_goes_through_the_source(family, more):
    source = tiny_vision.make_source(family)
    transform = make(**more)
    batch = batch_of(ROWS)
    inputs = transform(batch, source)
    assert set(inputs) == {"pixels"}
    torch.testing.assert_close(inputs["pixels"], drawn(transform, ROWS), rtol=0, atol=1e-6)
    logits = source(inputs, "logits")
    torch.testing.assert_close(logits, source({"pixels": drawn(transform, ROWS)}, "logits"), rtol=1e-4, atol=1e-4)
    logits[:, 0].sum().backward()
    assert transform.table.grad.flatten(1).any(1).all()


def test_the_folded_table_is_kept_until_theta_changes():
    source = tiny_vision.make_source("vit")
    transform = make(8)
    calls = []
    project = source.project_patches
    source.project_patches = lambda patches: calls.append(len(patches)) or project(patches)
    with torch.no_grad():
        first = transform(batch_of(ROWS), source)["patches"]
        transform(batch_of([[3, 3]]), source)
        assert calls == [TOKENS]
        transform.table[0] += 1
        second = transform(batch_of(ROWS), source)["patches"]
        assert calls == [TOKENS] * 2
    assert not torch.equal(first[0, 0], second[0, 0])
    assert torch.equal(first[0, 1:], second[0, 1:])
    transform(batch_of([[3, 3]]), source)["patches"].sum().backward()
    assert calls == [TOKENS, TOKENS, 2]  # with gradients: the tokens that occur, the pad token among them


@pytest.mark.parametrize("how", [{"fused": True}, {"foreach": True}, {}], ids=str)
def test_the_folded_table_follows_an_optimizers_step(how):
    source = tiny_vision.make_source("vit")
    transform, batch = make(8), batch_of(ROWS)
    optimizer = torch.optim.AdamW(transform.parameters(), lr=0.5, **how)
    for _ in range(2):
        with torch.no_grad():
            before = transform(batch, source)["patches"]
        transform(batch, source)["patches"].sum().backward()
        optimizer.step()
        with torch.no_grad():
            after = transform(batch, source)["patches"]
        assert not torch.equal(after, before)
        torch.testing.assert_close(after, transform(batch, source)["patches"])


def test_the_folded_table_follows_what_copies_for_several_devices_train():
    source = tiny_vision.make_source("vit")
    transform, batch = make(8), batch_of(ROWS)
    with torch.no_grad():
        before = transform(batch, source)["patches"]
    replica(transform)(batch, source)["patches"].sum().backward()
    torch.optim.AdamW(transform.parameters(), lr=0.5, fused=True).step()
    with torch.no_grad():
        after = transform(batch, source)["patches"]
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, transform(batch, source)["patches"])


def test_what_is_kept_folded_under_autocast_serves_calls_without_it():
    source = tiny_vision.make_source("vit")
    transform, batch = make(8), batch_of(ROWS)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            under = transform(batch, source)["patches"]
        assert torch.equal(transform(batch, source)["patches"], under)
        torch.testing.assert_close(
            source({"patches": under}, "logits"), with_image(transform, batch, source), rtol=1e-5, atol=1e-5
        )


def test_a_source_in_half_precision_keeps_theta_in_float32():
    source = tiny_vision.make_source("vit").bfloat16()
    transform = make(8)
    patches = transform(batch_of(ROWS), source)["patches"]
    assert patches.dtype == torch.bfloat16
    source({"patches": patches}, "logits").float().sum().backward()
    assert transform.table.grad.dtype == torch.float32


def test_drawing_leaves_the_source_as_it_was():
    source = tiny_vision.make_source("swin")
    before = bytes_of(source)
    source(make(4)(batch_of(ROWS), source), "logits").sum().backward()
    assert bytes_of(source) == before
    assert not any(p.requires_grad for p in source.parameters())


def test_a_transform_can_be_copied_after_a_step():
    source = tiny_vision.make_source("vit")
    transform = make(8, l2=0.1)
    source(transform(batch_of(ROWS), source), "logits").sum().backward()
    again = copy.deepcopy(transform)
    assert torch.equal(again.table, transform.table)


def test_which_tokens_occur_and_where():
    rows, index = occurring(torch.tensor([[5, 2, 5], [2, 0, 2]]), 8)
    assert rows.tolist() == [0, 2, 5]
    assert index.tolist() == [[2, 1, 2], [1, 0, 1]]


# ----------------------------------------------------------------------------------------------------- padding


def test_places_after_a_text_take_the_pad_tokens_patch():
    transform = make(8)
    pixels = transform.image(transform.placed(batch_of([[0, 1]])))
    pad = 0.5 + 0.5 * transform.table[PAD].tanh()
    patches = pixels[0].unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).reshape(16, 3, 8, 8)
    torch.testing.assert_close(patches[2:], pad.expand(14, -1, -1, -1))
    assert not torch.allclose(patches[1], pad, atol=0.1)


@pytest.mark.parametrize("patch_size", [8, 4], ids=["folded", "image"])
def test_padding_on_either_side_and_of_any_length_draws_the_same(patch_size):
    source = tiny_vision.make_source("vit")
    transform = make(patch_size)
    right = batch_of(ROWS)
    left = on_the_left(right)
    left["input_ids"][left["attention_mask"] == 0] = 0  # what stands in padding is not looked at
    longer = batch_of(ROWS, length=300)  # more than there are patches, but no text is
    bare = [{"input_ids": torch.tensor([row])} for row in ROWS]
    with torch.no_grad():
        expected = made(transform, right, source)
        for other in (left, longer):
            assert torch.equal(made(transform, other, source), expected)
        for row, one in zip(expected, bare, strict=True):
            assert torch.equal(made(transform, one, source)[0], row)


def test_holes_in_the_attention_mask_are_closed():
    transform = make(8)
    batch = {"input_ids": torch.tensor([[0, 4, 1, 4, 2]]), "attention_mask": torch.tensor([[1, 0, 1, 0, 1]])}
    assert transform.placed(batch)[0].tolist() == [0, 1, 2, *[PAD] * 13]


def test_an_empty_text_is_a_canvas_of_padding():
    transform = make(8)
    assert transform.placed({"input_ids": torch.zeros(1, 0)}).tolist() == [[PAD] * 16]
    assert transform.placed(batch_of([[], [1]]))[0].tolist() == [PAD] * 16


# ------------------------------------------------------------------------------------------------------ penalty


def test_the_penalty_is_the_mean_squared_norm_of_a_patch_so_that_equal_parts_of_a_batch_average_to_it():
    source = tiny_vision.make_source("vit")
    transform = make(8, l2=0.3)
    assert transform.penalty() == 0.0
    for rows in (ROWS, [[2, 2, 2, 0]]):
        transform(batch_of(rows), source)
        places = [token for row in rows for token in [*row, *[PAD] * (16 - len(row))]]
        expected = 0.3 * sum(transform.table[i].square().sum() for i in places) / len(places)
        torch.testing.assert_close(transform.penalty(), expected)
    transform.penalty().backward()
    assert transform.table.grad.flatten(1).any(1).nonzero()[:, 0].tolist() == [0, 2, PAD]
    without = make(8)
    without(batch_of(ROWS), source)
    assert without.penalty() == 0.0


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (batch_of([[1] * 17]), "A text has 17 tokens, but the canvas has 16 patches of 8 x 8 pixels"),
        (batch_of([[1, 7]]), "token id 7, but the target's vocabulary has 7: tokenize with the processor"),
    ],
    ids=["too long", "unknown id"],
)
@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_a_batch_that_does_not_fit_is_refused(batch, sentence, family):
    with pytest.raises(InputError) as refused:
        make(8)(batch, tiny_vision.make_source(family))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"patch_size": 5}, "which does not divide the canvas of 32 x 32 pixels: choose one of 1, 2, 4, 8, 16, 32."),
        ({"patch_size": 16, "width": 40}, "which does not divide the canvas of 32 x 40 pixels: choose one of 1, 2, 4, 8."),
        ({"patch_size": 0}, "patch_size is 0, which does not divide"),
        ({"eps": [0.2]}, "eps is [0.2]: give three numbers"),
        ({"eps": [0.2, 0, 0.2]}, "eps is [0.2, 0, 0.2]"),
        ({"l2": -1.0}, "l2 is -1.0: a penalty is 0 or more"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(more, sentence):
    with pytest.raises(InputError) as refused:
        options(**more)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pad_token_outside_of_the_vocabulary_is_refused():
    with pytest.raises(InputError, match="pad_id is 7: it must be one of the 7 tokens"):
        TokenPatchesOptions(7, 7, 8, SIDE, SIDE)


def test_another_canvas_and_a_source_of_tokens_are_refused():
    make(8).check(tiny_vision.make_source("vit").spec)
    with pytest.raises(InputError, match="cover 32 x 64 pixels, but the source takes 32 x 32"):
        make(8, width=64).check(tiny_vision.make_source("vit").spec)
    from tests.support.modules import Classifier

    with pytest.raises(InputError, match="takes no images"):
        make(8).check(ModuleSource(Classifier()).spec)
