"""Random resized crops and streams: against torchvision and plain loops, and the same on any number of processes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from prunebench.data import shards
from prunebench.data.batches import Augment, Split, eval_batches, load_prepared, train_batches
from prunebench.data.prepare import prepare
from prunebench.data.shards import CROP_DRAWS, centre_boxes, crop_boxes, crop_draws
from prunebench.data.sources import source_of
from prunebench.errors import InputError
from prunebench.seeding import generator

# Pixels as they are: no mean, and a share of 255 undone.
PLAIN = {"mean": [0.0] * 3, "std": [1 / 255] * 3}
SMALLEST = 0.08


@pytest.fixture(scope="module")
def split():
    """Images of noise, 13x11; every label is the image's own index."""
    images = torch.randint(0, 256, (40, 3, 13, 11), dtype=torch.uint8, generator=generator("noise"))
    return Split(images, torch.arange(40))


@pytest.fixture(scope="module")
def imagenet(miniatures, tmp_path_factory):
    """A miniature of ImageNet, and its prepared file with images of 56 pixels."""
    folder = tmp_path_factory.mktemp("imagenet")
    miniature, out = miniatures.imagenet(folder, each=8), folder / "data.safetensors"
    source = source_of("imagenet", checksum=None)
    counts = {"size": 56, "train": 20, "validation": 4, "test": None, "split_seed": 0}
    prepare(source, miniature.raw, folder, out=out, manifest=out.with_suffix(".json"), **counts)
    return miniature, out


@pytest.fixture(scope="module")
def stream(imagenet):
    """Its training images, decoded in this process."""
    return load_prepared(imagenet[1]).train


def epoch_of(split, augment, **options):
    return list(train_batches(split, batch_size=8, seed=3, epoch=5, augment=augment, **PLAIN, **options))


def same(a, b):
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True))


def drawn(count, batch_size=8, seed=3, epoch=5):
    """Order and mirror of an epoch, and what draws the crops of each image of its batches."""
    order = torch.randperm(count, generator=generator(seed, epoch, "order"))
    flip = torch.randint(0, 2, (count,), generator=generator(seed, epoch, "flip")) == 1
    draws = torch.cat([crop_draws(batch_size, seed, epoch, step) for step in range(count // batch_size)])
    return order[: len(draws)].tolist(), flip.tolist(), draws


# --- Boxes


def box_by_hand(draws, height, width, smallest):
    """One box by the words of torchvision's RandomResizedCrop, from the same uniform numbers."""
    low, high = math.log(3 / 4), math.log(4 / 3)
    for area_draw, ratio_draw in zip(draws[:10], draws[10:20], strict=True):
        area = height * width * (smallest + (1 - smallest) * area_draw)
        ratio = math.exp(low + (high - low) * ratio_draw)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return [math.floor(draws[20] * (height - h + 1)), math.floor(draws[21] * (width - w + 1)), h, w]
    if width / height < 3 / 4:
        w, h = width, round(width / (3 / 4))
    elif width / height > 4 / 3:
        w, h = round(height * (4 / 3)), height
    else:
        w, h = width, height
    return [(height - h) // 2, (width - w) // 2, h, w]


sizes = st.tuples(st.integers(1, 600), st.integers(1, 600))


@settings(deadline=None, max_examples=200)
@given(size=st.lists(sizes, min_size=1, max_size=5), smallest=st.floats(0.001, 1.0), seed=st.integers(0, 1000))
def test_boxes_follow_the_rule_and_lie_inside_their_images(size, smallest, seed):
    draws = crop_draws(len(size), "test", seed)
    height, width = (torch.tensor(axis) for axis in zip(*size, strict=True))
    boxes = crop_boxes(draws, height, width, smallest)
    for box, row, (h, w) in zip(boxes.tolist(), draws.tolist(), size, strict=True):
        assert box == box_by_hand(row, h, w, smallest)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()


@pytest.mark.parametrize("largest", [False, True])
def test_boxes_reach_both_ends(largest):
    draws = torch.zeros(1, CROP_DRAWS, dtype=torch.float64)
    draws[:, 20:] = np.nextafter(1.0, 0.0) if largest else 0.0
    draws[:, 10:20] = 0.5
    (box,) = crop_boxes(draws, 100, 100, 0.25).tolist()
    assert box == ([50, 50, 50, 50] if largest else [0, 0, 50, 50])


@pytest.mark.parametrize(("height", "width"), [(256, 341), (64, 64), (300, 90)])
def test_boxes_are_distributed_as_torchvision_s(height, width):
    """Area, shape and place; 90x300 is so long that many tries fail."""
    count = 3000
    ours = crop_boxes(crop_draws(count, "distribution"), height, width, SMALLEST).double()
    reference = v2.RandomResizedCrop(56, scale=(SMALLEST, 1.0), antialias=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = torch.zeros(1, height, width)
        drawn = [reference.make_params([image]) for _ in range(count)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn]).double()
    for measure in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 0] + b[:, 2],
        lambda b: b[:, 1] + b[:, 3],
    ):
        assert ks_2samp(measure(ours).numpy(), measure(theirs).numpy()).pvalue > 1e-3


def test_the_centre_is_of_seven_eighths_of_the_shorter_side():
    boxes = centre_boxes(torch.tensor([256, 300, 256]), torch.tensor([341, 256, 256]))
    assert boxes.tolist() == [[16, 58, 224, 224], [38, 16, 224, 224], [16, 16, 224, 224]]


# --- Images in memory


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("smallest", [SMALLEST, 0.6, 1.0])
def test_a_crop_in_memory_is_torchvision_s_crop_and_resize(split, smallest, flip):
    batches = epoch_of(split, Augment(flip=flip, resized_crop=smallest))
    order, mirror, draws = drawn(len(split))
    assert torch.cat([y for _, y in batches]).tolist() == order
    boxes = crop_boxes(draws, 13, 11, smallest).tolist()
    found = torch.cat([x for x, _ in batches]).double()
    for index, box, flipped, image in zip(order, boxes, mirror, found, strict=True):
        expected = v2.functional.resized_crop(split.images[index].double(), *box, [13, 11], antialias=False)
        expected = expected.flip(2) if flip and flipped else expected
        # float32: 255 times a few roundings of 2^-24, and of the grid's.
        torch.testing.assert_close(image, expected, atol=2e-3, rtol=0)


def test_a_crop_of_all_of_a_square_leaves_it_as_it_is():
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=generator("square"))
    [(x, y)] = epoch_of(Split(images, torch.arange(8)), Augment(resized_crop=1.0))
    whole = [box == [0, 0, 16, 16] for box in crop_boxes(crop_draws(8, 3, 5, 0), 16, 16, 1.0).tolist()]
    assert any(whole)
    torch.testing.assert_close(x[whole], images[y].float()[whole], atol=2e-3, rtol=0)


# --- Parts of a batch, and a start in the middle


AUGMENTS = [Augment(), Augment(2, True), Augment(flip=True, resized_crop=SMALLEST)]


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_parts_of_a_batch_make_the_batch(split, stream, augment, processes):
    for data in (split,) if augment.pad else (split, stream):
        parts = [epoch_of(data, augment, part=(rank, processes)) for rank in range(processes)]
        for whole, *pieces in zip(epoch_of(data, augment), *parts, strict=True):
            for place in (0, 1):
                rows = torch.stack([piece[place] for piece in pieces], dim=1).flatten(0, 1)
                torch.testing.assert_close(rows, whole[place], atol=0, rtol=0)


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_later_start_gives_the_rest_of_the_epoch(split, stream, augment, first):
    for data in (split,) if augment.pad else (split, stream):
        assert same(epoch_of(data, augment, first=first), epoch_of(data, augment)[first:])


@pytest.mark.parametrize(("batch_size", "processes"), [(7, 1), (7, 3), (8, 2), (3, 4), (100, 2)])
def test_the_parts_of_an_evaluation_cover_everything_once(split, imagenet, batch_size, processes):
    for data in (split, load_prepared(imagenet[1]).train):
        whole = torch.cat([x for x, _ in eval_batches(data, batch_size=batch_size, **PLAIN)])
        found, labels, counts = torch.zeros_like(whole), torch.zeros_like(data.labels), torch.zeros(len(data))
        for rank in range(processes):
            batches = eval_batches(data, batch_size=batch_size, part=(rank, processes), **PLAIN)
            for start, (x, y) in zip(range(0, len(data), batch_size), batches, strict=False):
                places = torch.arange(start, min(start + batch_size, len(data)))[rank::processes]
                found[places], labels[places] = x, y
                counts[places] += 1
        assert torch.equal(found, whole)
        assert torch.equal(labels, data.labels)
        assert (counts == 1).all()


def test_a_batch_that_does_not_divide_is_refused(split):
    with pytest.raises(InputError, match="batch_size: 8, no multiple of the 3 processes"):
        epoch_of(split, Augment(), part=(0, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resized_crop": 0.0}, r"resized_crop: 0, must be in \(0, 1\]"),
        ({"resized_crop": 1.5}, "resized_crop: 1.5"),
        ({"resized_crop": float("nan")}, "resized_crop: nan"),
        ({"resized_crop": 0.5, "pad": 1}, "without pad"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Augment(**options)


# --- Streams


@pytest.mark.parametrize("augment", [AUGMENTS[0], AUGMENTS[2]])
def test_any_number_of_processes_gives_the_same_bytes(imagenet, augment):
    epochs, evaluations = [], []
    for workers in (0, 1, 2):
        data = load_prepared(imagenet[1], workers=workers)
        epochs.append(epoch_of(data.train, augment))
        evaluations.append(list(eval_batches(data.test, batch_size=5, **PLAIN)))
    assert len(epochs[0]) == 2
    for found in (epochs, evaluations):
        assert same(found[0], found[1])
        assert same(found[0], found[2])


def test_a_stream_draws_nothing_from_the_program_s_own_generator(imagenet):
    data = load_prepared(imagenet[1], workers=1)
    before = torch.get_rng_state()
    epoch_of(data.train, AUGMENTS[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stream_gives_the_boxes_of_its_stored_images(stream):
    """Pixel for pixel: the box by hand, and Pillow's crop and resize."""
    from PIL import Image

    batches = epoch_of(stream, AUGMENTS[2])
    order, mirror, draws = drawn(len(stream))
    assert torch.equal(torch.cat([y for _, y in batches]), stream.labels[order])
    found = torch.cat([x for x, _ in batches])
    for index, flipped, row, image in zip(order, mirror, draws.tolist(), found, strict=False):
        stored = stream.image(index)
        top, left, height, width = box_by_hand(row, stored.height, stored.width, SMALLEST)
        cut = stored.crop((left, top, left + width, top + height)).resize((56, 56), Image.Resampling.BILINEAR)
        expected = torch.from_numpy(np.asarray(cut).copy()).permute(2, 0, 1).float()
        expected = expected.flip(2) if flipped else expected
        torch.testing.assert_close(image, expected, atol=1.01, rtol=0)  # Pillow rounds a box's weights


def test_the_centre_of_a_stream_is_torchvision_s_resize_and_centre_crop(imagenet):
    """Of the original files, within what JPEG loses twice."""
    miniature, out = imagenet
    images, labels = miniature.test
    data = load_prepared(out)
    expected = [
        v2.functional.center_crop(
            v2.functional.resize(torch.from_numpy(image).permute(2, 0, 1), [64], antialias=True), [56, 56]
        ).float()
        for image in images
    ]
    [(found, order)] = eval_batches(data.test, batch_size=100, **PLAIN)
    assert len(found) == len(expected)
    for image, label in zip(found, order.tolist(), strict=True):
        differences = [(image - other).abs().mean().item() for other in expected]
        nearest = int(np.argmin(differences))
        assert differences[nearest] < 3
        assert label == labels[nearest]


def test_the_first_images_of_a_stream_are_a_stream(stream):
    whole = list(eval_batches(stream, batch_size=4, **PLAIN))
    assert same(list(eval_batches(stream.first(8), batch_size=4, **PLAIN)), whole[:2])
    assert (len(stream.first(8)), stream.first(8).shape) == (8, (3, 56, 56))


def test_a_stream_has_no_padding(stream):
    with pytest.raises(InputError, match="pad: 2 pixels, but images that stream"):
        epoch_of(stream, Augment(2))


def test_shards_are_closed_at_their_size_and_hold_the_same_images(imagenet, stream, monkeypatch, tmp_path):
    miniature, _ = imagenet
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)
    out = tmp_path / "small.safetensors"
    source = source_of("imagenet", checksum=None)
    counts = {"size": 56, "train": 20, "validation": 4, "test": None, "split_seed": 0}
    prepare(source, miniature.raw, tmp_path, out=out, manifest=out.with_suffix(".json"), **counts)
    files = sorted(out.with_suffix(".shards").iterdir())
    assert len(files) > 6
    assert all(file.stat().st_size <= 4000 for file in files)
    small = load_prepared(out, workers=1).train
    assert same(epoch_of(small, AUGMENTS[2]), epoch_of(stream, AUGMENTS[2]))
