"""The words that settings choose from. Imports nothing heavy, so that a wrong word is told at once."""

from enum import StrEnum


class Diff(StrEnum):
    """How two frames become one image; see data/diff.py."""

    abs = "abs"
    tolerant = "tolerant"
    signed = "signed"
    stack = "stack"

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return 9 if self is Diff.stack else 3

    @property
    def symmetric(self) -> bool:
        """Whether swapping the frames gives the same image."""
        return self in (Diff.abs, Diff.tolerant)


class Registration(StrEnum):
    """How the before frame is aligned with the after frame; see data/registration.py."""

    none = "none"
    phase = "phase"
    ecc = "ecc"
    orb = "orb"


class Augment(StrEnum):
    """How much the training pairs are varied; see data/augment.py."""

    none = "none"
    light = "light"
    strong = "strong"


class Cache(StrEnum):
    """Where decoded, aligned and resized frames are kept; see data/cache.py."""

    off = "off"
    disk = "disk"
    memory = "memory"


class Places(StrEnum):
    """Which places of the changed objects are labelled.

    after: where each moved object is now; before: where it was; both: the two places of each
        moved object; changed: both, and the objects that appeared or disappeared.
    """

    after = "after"
    before = "before"
    both = "both"
    changed = "changed"


class ImportFormat(StrEnum):
    """Outside formats that become an ordinary data set; see data/formats/."""

    virat = "virat"
    mot = "mot"
    coco = "coco"
    deeppcb = "deeppcb"
    yolo = "yolo"


class ExportFormat(StrEnum):
    """Outside formats that a data set can be written in."""

    coco = "coco"
    yolo = "yolo"


class Pictures(StrEnum):
    """What a new data set does with the frames: copy them, or refer to them where they are."""

    copy = "copy"
    refer = "refer"


class SplitBy(StrEnum):
    """How a data set is divided.

    auto: by the split column where it names more than one split, else by scene where there are
        at least three scenes, else by pair.
    """

    auto = "auto"
    column = "column"
    scene = "scene"
    pair = "pair"
    time = "time"


class Split(StrEnum):
    """A part of a data set."""

    all = "all"
    train = "train"
    val = "val"
    test = "test"


class BaselineName(StrEnum):
    """What evaluate can judge in place of a network; see verbs/baseline.py."""

    threshold_blobs = "threshold_blobs"
    oracle = "oracle"


class OnError(StrEnum):
    """What to do with pairs that have problems: refuse to go on, or leave them out."""

    refuse = "refuse"
    skip = "skip"


class Schedule(StrEnum):
    """Learning rate after the warm-up: constant, linear to 0, or cosine to 0, in cycles."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class Normalize(StrEnum):
    """What the loss is divided by: the objects of the whole optimizer step, or of each batch."""

    step = "step"
    batch = "batch"


class ClassLoss(StrEnum):
    """What the class loss of a DETR is divided by.

    objects: the number of objects (sigmoid losses); queries: the weights of all queries (softmax
        cross entropy with a no-object class).
    """

    objects = "objects"
    queries = "queries"


class RunState(StrEnum):
    """How a run stands; see training/run_status.py.

    stopped: a signal asked it to stop, and it goes on with resume=true; killed: its process is
        gone without a word, which is seen and never written; unknown: it says nothing of itself.
    """

    running = "running"
    finished = "finished"
    failed = "failed"
    stopped = "stopped"
    killed = "killed"
    unknown = "unknown"


class RunOrder(StrEnum):
    """How a table of runs is sorted: newest first, by name, or by the monitored metric."""

    started = "started"
    name = "name"
    best = "best"
