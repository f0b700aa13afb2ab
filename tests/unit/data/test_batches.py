"""Batches: exact against a per-image loop, and a pure function of (seed, epoch)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.data.batches import Augment, Split, eval_batches, steps_per_epoch, train_batches
from prunebench.errors import InputError
from prunebench.seeding import generator

MEAN, STD = [0.3, 0.4, 0.5], [0.2, 0.25, 0.3]
AUGMENT = Augment(2, True)


def make_split(count=50, channels=3, height=6, width=5):
    """Every label is the image's own index, so that a batch tells which images it holds."""
    images = torch.randint(
        0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator("test images")
    )
    return Split(images, torch.arange(count))


def epoch_of(split, *, seed=0, epoch=0, augment=AUGMENT, batch_size=8):
    channels = split.images.shape[1]
    return list(
        train_batches(
            split,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            augment=augment,
            mean=MEAN[:channels],
            std=STD[:channels],
        )
    )


def same(a, b):
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True))


def by_hand(split, seed, epoch, augment):
    """The order and the images of an epoch, augmented and normalised one at a time in numpy, in float64."""
    count, _, height, width = split.images.shape
    order = torch.randperm(count, generator=generator(seed, epoch, "order")).tolist()
    crops = torch.randint(0, 2 * augment.pad + 1, (count, 2), generator=generator(seed, epoch, "crop")).tolist()
    flips = torch.randint(0, 2, (count,), generator=generator(seed, epoch, "flip")).tolist()
    images = []
    for place, index in enumerate(order):
        image = split.images[index].numpy()
        if augment.pad:
            top, left = crops[place]
            image = np.pad(image, ((0, 0), (augment.pad, augment.pad), (augment.pad, augment.pad)))
            image = image[:, top : top + height, left : left + width]
        if augment.flip and flips[place]:
            image = image[:, :, ::-1]
        mean, std = (np.array(v[: len(image)])[:, None, None] for v in (MEAN, STD))
        images.append((image / 255 - mean) / std)
    return order, np.stack(images)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    pad=st.integers(0, 4),
    flip=st.booleans(),
    data=st.data(),
)
def test_crop_flip_and_normalisation_match_a_loop_over_images(count, channels, height, width, pad, flip, data):
    split, augment = make_split(count, channels, height, width), Augment(pad, flip)
    batch_size = data.draw(st.integers(1, count))
    batches = epoch_of(split, seed=3, epoch=7, augment=augment, batch_size=batch_size)
    order, expected = by_hand(split, 3, 7, augment)
    used = len(batches) * batch_size
    assert len(batches) == count // batch_size
    assert torch.cat([y for _, y in batches]).tolist() == order[:used]
    np.testing.assert_allclose(torch.cat([x for x, _ in batches]).numpy(), expected[:used], atol=2e-6)


def test_augmentation_reaches_every_offset_and_both_directions():
    image = torch.zeros((1, 1, 5, 5), dtype=torch.uint8)
    image[0, 0, 2, 1] = 255
    split = Split(image.expand(600, 1, 5, 5).contiguous(), torch.arange(600))
    [(x, _)] = train_batches(split, batch_size=600, seed=0, epoch=0, augment=Augment(1, True), mean=[0.0], std=[1.0])
    places = {tuple(place[2:].tolist()) for place in x.nonzero()}
    # The one white pixel, or its mirror image, moved by -1, 0 or 1 each way.
    assert places == {(row, column) for row in (1, 2, 3) for column in (0, 1, 2, 3, 4)}
    mirrored = (x[:, 0].sum(1).argmax(1) > 2).float().mean().item()
    # Right of the middle means mirrored; mirrored and in the middle or left of it has probability 1/6.
    assert 0.25 < mirrored < 0.42


def test_an_epoch_is_a_pure_function_of_seed_and_epoch():
    split = make_split()
    first = epoch_of(split, seed=1, epoch=2)
    torch.manual_seed(99)
    torch.rand(7)
    interrupted = train_batches(split, batch_size=8, seed=1, epoch=2, augment=Augment(2, True), mean=MEAN, std=STD)
    next(interrupted)
    assert same(first, epoch_of(split, seed=1, epoch=2))
    assert same(first, epoch_of(split, seed=np.int64(1), epoch=np.int64(2)))
    for other in (epoch_of(split, seed=1, epoch=3), epoch_of(split, seed=2, epoch=2)):
        assert not torch.equal(torch.cat([y for _, y in first]), torch.cat([y for _, y in other]))


def test_order_does_not_depend_on_augmentation():
    split = make_split()
    plain, augmented = epoch_of(split, augment=Augment()), epoch_of(split, augment=Augment(3, True))
    assert all(torch.equal(y, v) for (_, y), (_, v) in zip(plain, augmented, strict=True))


def test_a_batch_keeps_its_values_while_later_ones_are_made():
    split = make_split()
    kept = [(x.clone(), y.clone()) for x, y in epoch_of(split)]
    assert same(kept, epoch_of(split))
    before = split.images.clone()
    for x, _ in epoch_of(split):
        x.zero_()
    assert torch.equal(split.images, before)


@pytest.mark.parametrize("augment", [Augment(), Augment(2, True)])
def test_each_image_comes_at_most_once_and_every_batch_is_whole(augment):
    split = make_split(50)
    batches = epoch_of(split, augment=augment, batch_size=8)
    seen = torch.cat([y for _, y in batches]).tolist()
    assert len(batches) == steps_per_epoch(split, 8) == 6
    assert {len(y) for _, y in batches} == {8}
    assert len(set(seen)) == len(seen) == 48


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", [Augment(), Augment(2, True)])
def test_batches_are_float32_with_channels_last_strides(channels, augment):
    split = make_split(channels=channels)
    evaluated = list(eval_batches(split, batch_size=8, mean=MEAN[:channels], std=STD[:channels]))
    for x, y in epoch_of(split, augment=augment) + evaluated:
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert x.stride() == (6 * 5 * channels, 1, 5 * channels, channels)


def test_evaluation_gives_the_whole_split_in_order():
    split = make_split(50)
    batches = list(eval_batches(split, batch_size=16, mean=MEAN, std=STD))
    assert [len(y) for _, y in batches] == [16, 16, 16, 2]
    assert torch.cat([y for _, y in batches]).tolist() == list(range(50))
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (MEAN, STD))
    expected = (split.images.double() / 255 - mean) / std
    torch.testing.assert_close(torch.cat([x for x, _ in batches]).double(), expected, atol=2e-6, rtol=0)


def test_training_images_are_normalised_to_mean_0_and_std_1():
    images = make_split(40).images
    share = images.double() / 255
    mean, std = share.mean((0, 2, 3)).tolist(), share.std((0, 2, 3), correction=0).tolist()
    [(x, _)] = eval_batches(Split(images, torch.arange(40)), batch_size=40, mean=mean, std=std)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [0, -1, 51])
def test_a_batch_size_out_of_range_is_refused_at_the_call(batch_size):
    split = make_split(50)
    with pytest.raises(InputError, match=rf"batch_size: {batch_size}, allowed: 1 to 50"):
        train_batches(split, batch_size=batch_size, seed=0, epoch=0, augment=Augment(), mean=MEAN, std=STD)


def test_other_bad_input_is_refused():
    with pytest.raises(InputError, match="pad: -1"):
        Augment(pad=-1)
    with pytest.raises(InputError, match="batch_size: 0"):
        eval_batches(make_split(), batch_size=0, mean=MEAN, std=STD)
    for mean, std in (([0.5], [0.5]), (MEAN, [0.2, 0.0, 0.3]), (MEAN, [0.2, float("nan"), 0.3])):
        with pytest.raises(InputError, match="need 3 values each, std above 0"):
            eval_batches(make_split(), batch_size=8, mean=mean, std=std)


@pytest.mark.gpu
def test_a_step_on_the_gpu_waits_for_nothing_and_gives_the_cpu_s_batches():
    split = make_split()
    on_gpu = Split(split.images.cuda(), split.labels.cuda())
    batches = train_batches(on_gpu, batch_size=8, seed=0, epoch=0, augment=Augment(2, True), mean=MEAN, std=STD)
    got = [next(batches)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        got += list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (x, y), (u, v) in zip(epoch_of(split), got, strict=True):
        assert torch.equal(y, v.cpu())
        torch.testing.assert_close(x, u.cpu(), atol=1e-6, rtol=0)
