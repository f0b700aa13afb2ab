"""The sources of data by name: each a frozen dataclass of its options, with facts and what reads it.

Importing this module imports neither torch nor NumPy, so that a preset can be checked where no image is needed. A new
data set is one class with `read` and one entry of SOURCES:

    from prunebench.data import register_source

    @register_source("mine")
    @dataclass(frozen=True)
    class Mine(Source):
        '''My images.'''

        channels, side, classes = 3, 32, 10

        def read(self, raw_folder, cache):
            from prunebench.data.raw import Arrays, Part, Raw
            ...
            return Raw("mine", Part(Arrays(images), labels), None, 10, origin="where they came from")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from prunebench.errors import InputError, nearest

if TYPE_CHECKING:
    from prunebench.data.raw import Raw

PUBLISHED = "published"
"""The checksum that stands for the publisher's own content."""


@dataclass(frozen=True)
class Source:
    """Facts of a source, and what reads it.

    channels and side: of its images, in pixels; side None: they differ in size, so a preset must give one. classes: how
    many. normalise: mean and std per channel in units of [0, 1] where weights of files count on published ones; None
    takes those of the training images. sharded: too large for memory, prepared as shards that stream.
    """

    channels: ClassVar[int]
    side: ClassVar[int | None]
    classes: ClassVar[int]
    normalise: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None
    sharded: ClassVar[bool] = False

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The raw data set, checked. `raw_folder`: where the user's files lie; `cache`: where downloads are kept.

        Raises InputError, naming the file, where one is missing, damaged, hostile or not what it should be.
        """
        raise NotImplementedError


SOURCES: dict[str, type[Source]] = {}
"""Name -> class of its options."""

C = TypeVar("C", bound=type)


def register_source(name: str) -> Callable[[C], C]:
    """Decorator that puts a frozen dataclass derived from `Source` into SOURCES; InputError if the name is taken."""
    if name in SOURCES:
        raise InputError(f"source '{name}' exists already: choose another name")

    def add(cls: C) -> C:
        SOURCES[name] = cls
        return cls

    return add


def source_of(source: str | Source, **options: object) -> Source:
    """The source of that name with these options, or the one that is given; InputError for an unknown name.

    >>> from prunebench.data.sources import source_of
    >>> source_of("cifar10", checksum=None)
    Cifar10(checksum=None)
    """
    if isinstance(source, Source):
        return source
    if source not in SOURCES:
        raise InputError(f"unknown data source '{source}': {nearest(source, SOURCES)}")
    return SOURCES[source](**options)


def _check_sha256(checksum: str | None, *words: str) -> None:
    """InputError where a checksum is neither null, one of `words`, nor 64 hexadecimal digits."""
    if checksum is None or checksum in words:
        return
    if len(checksum) != 64 or not set(checksum) <= set("0123456789abcdef"):
        raise InputError(f"checksum: '{checksum:.80}', allowed: {', '.join((*words, 'null'))} or a SHA-256 in hex")


@register_source("digits")
@dataclass(frozen=True)
class Digits(Source):
    """The 1,797 grey 8x8 digits that scikit-learn carries; needs no file and no network."""

    channels, side, classes = 1, 8, 10

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The digits, pixels 0 to 16 scaled to 0 to 255."""
        from prunebench.data.raw import read_digits

        return read_digits()


@register_source("fashion_mnist")
@dataclass(frozen=True)
class FashionMnist(Source):
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 70,000 grey 28x28 images of clothes in ten classes.

    Four IDX files, plain or .gz, in the folder of raw data; else an earlier download, Debian's package, torchvision's
    mirror, or `apt-get download`.
    """

    channels, side, classes = 1, 28, 10

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The images; every file's content has its published checksum."""
        from prunebench.data.fashion import read_fashion_mnist

        return read_fashion_mnist(raw_folder, cache)


@dataclass(frozen=True)
class _Cifar(Source):
    """CIFAR: 60,000 colour images of 32x32 (Krizhevsky 2009).

    In the folder of raw data the publisher's folder, its tar.gz, or the publisher's files themselves; else an earlier
    download, or the publisher's server. checksum: `published` insists on the publisher's content; null takes whatever
    the files hold, and the provenance of every run says so.
    """

    channels, side = 3, 32

    checksum: str | None = PUBLISHED

    def __post_init__(self) -> None:
        _check_sha256(self.checksum, PUBLISHED)

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The images; pickles are read without running code."""
        from prunebench.data.cifar import read_cifar

        return read_cifar(self.classes, self.checksum, raw_folder, cache)


@register_source("cifar10")
@dataclass(frozen=True)
class Cifar10(_Cifar):
    __doc__ = (_Cifar.__doc__ or "").replace("CIFAR:", "CIFAR-10:")
    classes = 10


@register_source("cifar100")
@dataclass(frozen=True)
class Cifar100(_Cifar):
    __doc__ = (_Cifar.__doc__ or "").replace("CIFAR:", "CIFAR-100, fine labels:")
    classes = 100


@register_source("imagenet200")
@dataclass(frozen=True)
class ImageNet200(Source):
    """ImageNet-200, published as Tiny-ImageNet (Stanford CS231n): 200 classes, 64x64 in colour; 500 images of each to
    train on, and 50 for what its publisher calls validation, which is the test set here (its own has no labels).

    In the folder of raw data `tiny-imagenet-200/` or `tiny-imagenet-200.zip`. checksum: no published one is known;
    `published` insists on the published number of images of each class, null takes what is there, a SHA-256 that very
    content (names and bytes of all files).
    """

    channels, side, classes = 3, 64, 200

    checksum: str | None = PUBLISHED

    def __post_init__(self) -> None:
        _check_sha256(self.checksum, PUBLISHED)

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The images, decoded when they are prepared."""
        from prunebench.data.imagenet import read_imagenet200

        return read_imagenet200(self.checksum, raw_folder)


@register_source("imagenet")
@dataclass(frozen=True)
class ImageNet(Source):
    """ImageNet-1k (ILSVRC 2012): 1,281,167 colour images of many sizes in 1,000 classes, 50,000 to test on.

    In the folder of raw data `train/<class>/*.JPEG` and `val/<class>/*.JPEG`, as torchvision's ImageNet lays its
    archives out. Prepared as JPEG shards, which worker processes decode. checksum: `published` insists on the published
    numbers of images and classes; null takes what is there.
    """

    channels, side, classes = 3, None, 1000
    # torchvision's, https://docs.pytorch.org/vision/stable/models.html: its weights count on them.
    normalise = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    sharded = True

    checksum: str | None = PUBLISHED

    def __post_init__(self) -> None:
        if self.checksum not in (PUBLISHED, None):
            raise InputError(f"checksum of imagenet: '{self.checksum:.80}', allowed: {PUBLISHED}, null")

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The images, decoded when they are prepared."""
        from prunebench.data.imagenet import read_imagenet

        return read_imagenet(self.checksum, raw_folder)


@dataclass(frozen=True)
class _Own(Source):
    """What the two kinds of own data share: facts that a preset states, and files that the user names."""

    path: str = ""
    classes: int = 10  # type: ignore[misc]
    channels: int = 3  # type: ignore[misc]
    checksum: str | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise InputError("path: missing; it names your images")
        if self.classes < 2 or self.channels not in (1, 3):
            raise InputError(f"classes is {self.classes}, channels {self.channels}; allowed: 2 or more, and 1 or 3")
        _check_sha256(self.checksum)


@register_source("folder")
@dataclass(frozen=True)
class ImageFolder(_Own):
    """Your own images, a folder per class: `path/train/<class>/*` and `path/test/<class>/*`, or `path/<class>/*` where
    the test images are drawn from the same.

    JPEG, PNG, WebP, BMP or TIFF of 8 bits per channel. Classes are numbered in the order of their names. channels: 3
    (colour) or 1 (grey). checksum: null takes what is there, a SHA-256 that very content (names and bytes of all files;
    a failure names it).
    """

    side = None

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The images, decoded when they are prepared."""
        from prunebench.data.imagenet import read_folder

        return read_folder(Path(self.path), self.classes, self.channels, self.checksum)


@register_source("npz")
@dataclass(frozen=True)
class Npz(_Own):
    """Your own arrays: an .npz with `train_images` and `train_labels`, and `test_images` and `test_labels` where the
    test images are not drawn from the same.

    Images uint8 (N, H, W) or (N, H, W, C), square; labels integers (N,), 0 to classes - 1. channels: 3 or 1. side: of
    the images, in pixels. checksum: null takes what is there, a SHA-256 that very content (pixels and labels; a
    failure names it).
    """

    side: int = 32  # type: ignore[misc]

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The arrays; objects in them are refused."""
        from prunebench.data.npz import read_npz

        return read_npz(self)
