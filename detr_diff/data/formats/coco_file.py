"""One COCO file of object boxes.

Format: https://cocodataset.org/#format-data, "object detection"; `bbox` is x y w h in pixels, from
the top left corner.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.imported import Box, fault_of
from detr_diff.data.problem import Problem

_ROLE = re.compile(r"_(before|after)$")


@dataclass(frozen=True)
class CocoImage:
    """An entry of `images`.

    Attributes:
        line: Its line in the file.
        what: Its place in the list, for error messages.
        id: What annotations call it.
        file_name: The picture, or the later frame.
        before_file_name: The earlier frame; None when the file names none.
        size: Width and height in pixels; None when the file does not tell.
        pair: Name of the frame pair; None when the file does not tell.
        scene: Unit of splitting; None when the file does not tell.
    """

    line: int
    what: str
    id: int
    file_name: str
    before_file_name: str | None
    size: tuple[int, int] | None
    pair: str | None
    scene: str | None

    @property
    def stem(self) -> str:
        """Path without the extension and without what tells the two frames apart."""
        return _ROLE.sub("", os.path.splitext(self.file_name)[0])


@dataclass(frozen=True)
class CocoObject:
    """An entry of `annotations`.

    Attributes:
        line: Its line in the file.
        what: Its place in the list, for error messages.
        category: Name of its class.
        box: x0, y0, x1, y1 in pixels.
        track: What follows the object from frame to frame; None when the file does not tell.
    """

    line: int
    what: str
    category: str
    box: Box
    track: str | None


@dataclass
class CocoFile:
    """What a file holds.

    Attributes:
        path: The file.
        pictures: Folder that its file names start from.
        images: By id.
        objects: By the id of their image.
        categories: Class names by id.
        crowds: Annotations with iscrowd=1, which mark regions and no objects; they are left out.
        problems: Everything that could not be used.
    """

    path: Path
    pictures: Path
    images: dict[int, CocoImage] = field(default_factory=dict)
    objects: dict[int, list[CocoObject]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    crowds: int = 0
    problems: list[Problem] = field(default_factory=list)

    def report(self, record: CocoImage | CocoObject, message: str) -> None:
        """Add a problem of one record."""
        self.problems.append(Problem(self.path, record.line, f"{record.what}: {message}"))

    def size(
        self, image: CocoImage, sizes: FrameSizes, before: Path | None, after: Path
    ) -> tuple[int, int] | None:
        """Width and height of an image's frames in pixels; None, and a problem, when they are no use."""
        size = sizes.of(before, after)
        if isinstance(size, Problem):
            self.report(image, str(size))
            return None
        if image.size not in (None, size):
            self.report(
                image, f"width and height are {image.size}, but {after} has {size[0]}x{size[1]} pixels"
            )
            return None
        return size

    def inside(self, image: CocoImage, size: tuple[int, int]) -> list[CocoObject]:
        """The objects that overlap an image; the others become problems."""
        objects = []
        for found in self.objects.get(image.id, ()):
            fault = fault_of(found.box, size)
            if fault is None:
                objects.append(found)
            else:
                self.report(found, fault)
        return objects
