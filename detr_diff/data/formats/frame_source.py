"""Where the frames of a tracked video are: pictures in a folder, or a video file."""

from collections.abc import Iterable
from pathlib import Path

import cv2

from detr_diff.data.formats.frame_files import number_of, pictures_in
from detr_diff.data.image import inspect_image
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.errors import SettingError


class FrameFolder:
    """Pictures whose names hold the number of the frame.

    Attributes:
        size: Width and height in pixels.
        problems: What is wrong with the frames.
        notes: Lines for the summary.

    Raises:
        SettingError: There is no picture that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._files: dict[int, Path] = {}
        unnumbered = 0
        for path in pictures_in(folder):
            number = number_of(path.stem)
            if number is None:
                unnumbered += 1
            elif number in self._files:
                message = f"a second frame {number}, beside {self._files[number].name}"
                self.problems.append(Problem(path, 0, message))
            else:
                self._files[number] = path
        if unnumbered:
            self.notes.append(f"pictures without a number in their name, not used: {unnumbered}")
        sizes = (inspect_image(path) for path in self._files.values())
        first = next((size for size in sizes if not isinstance(size, str)), None)
        if first is None:
            raise SettingError(f"mot.frames={folder}: no readable picture with a number in its name")
        self.size = first[1], first[0]

    def numbers(self, first: int) -> Iterable[int]:
        """Numbers of all frames, ascending, when the first of a video has number `first`."""
        return sorted(self._files)

    def paths(self, numbers: Iterable[int], first: int) -> dict[int, Path]:
        """Files of the frames with these numbers, without those that cannot be used."""
        found = {}
        for number in progress(sorted(numbers), "looking at the frames"):
            path = self._files[number]
            size = inspect_image(path)
            if isinstance(size, str):
                self.problems.append(Problem(path, 0, size))
            elif (size[1], size[0]) != self.size:
                message = f"{size[1]}x{size[0]} pixels, but the first frame has {self.size[0]}x{self.size[1]}"
                self.problems.append(Problem(path, 0, message))
            else:
                found[number] = path
        return found


class VideoFile:
    """A video, whose frames are written out as PNG.

    Args:
        path: The video.
        extracted: Folder for the pictures.

    Attributes:
        size: Width and height in pixels.
        problems: What is wrong with the frames.
        notes: Lines for the summary.

    Raises:
        SettingError: OpenCV cannot read it as a video.
    """

    def __init__(self, path: Path, extracted: Path) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._path, self._extracted = path, extracted
        video = cv2.VideoCapture(str(path))
        self.size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.release()
        if self._count < 1 or min(self.size) < 1:
            raise SettingError(f"mot.frames={path}: neither a folder nor a readable video")

    def numbers(self, first: int) -> Iterable[int]:
        """Numbers of all frames, ascending, when the first of a video has number `first`."""
        return range(first, first + self._count)

    def paths(self, numbers: Iterable[int], first: int) -> dict[int, Path]:
        """Files of the frames with these numbers, without those that cannot be used."""
        wanted = set(numbers)
        found = {}
        self._extracted.mkdir(parents=True, exist_ok=True)
        video = cv2.VideoCapture(str(self._path))
        # Seeking is not exact in many videos, so that all frames are gone through.
        last = max(wanted, default=first - 1)
        for number in progress(range(first, last + 1), "extracting the frames"):
            if not video.grab():
                break
            if number in wanted:
                decoded, picture = video.retrieve()
                path = self._extracted / f"{number:06d}.png"
                if decoded and cv2.imwrite(str(path), picture):
                    found[number] = path
        video.release()
        for number in sorted(wanted - set(found)):
            self.problems.append(Problem(self._path, 0, f"frame {number} cannot be decoded"))
        return found


FrameSource = FrameFolder | VideoFile
