"""The words that settings choose from. Imports nothing heavy, so that a wrong word is told at once."""

from enum import StrEnum


class Diff(StrEnum):
    """How two frames become one image; see data/diff.py."""

    abs = "abs"
    tolerant = "tolerant"
    signed = "signed"
    stack = "stack"
    frames = "frames"

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return {Diff.stack: 9, Diff.frames: 6}.get(self, 3)

    @property
    def needs_frames(self) -> bool:
        """Whether a ready diff image is of no use."""
        return self in (Diff.stack, Diff.frames)

    @property
    def symmetric(self) -> bool:
        """Whether swapping the frames gives the same image."""
        return self in (Diff.abs, Diff.tolerant)


class ModelInput(StrEnum):
    """What is compared: the pixels of the frames (data.diff) or their features (feature_diff)."""

    image_diff = "image_diff"
    feature_diff = "feature_diff"


class Compare(StrEnum):
    """How features of two frames are compared; see model/feature_comparison.py."""

    abs = "abs"
    signed = "signed"
    concat = "concat"
    cross_attention = "cross_attention"


class CompareLevels(StrEnum):
    """Which levels of the backbone are compared."""

    all = "all"
    last = "last"


class Registration(StrEnum):
    """How the before frame is aligned with the after frame; see data/registration.py."""

    none = "none"
    phase = "phase"
    ecc = "ecc"
    orb = "orb"


class Disturbance(StrEnum):
    """What is done to the before frame to see what a model endures; see data/disturbance.py."""

    shift = "shift"
    rotation = "rotation"
    gain = "gain"
    bias = "bias"
    noise = "noise"
    blur = "blur"
    jpeg = "jpeg"
    swap = "swap"

    @property
    def moves_camera(self) -> bool:
        """Whether it is what registration is there for."""
        return self in (Disturbance.shift, Disturbance.rotation)


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


PLACES = (Places.before, Places.after)  # of a single box; places as numbers are positions in it


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


class RunState(StrEnum):
    """How a run stands; see training/run_status.py.

    stopped: a signal asked it to stop, and it goes on with resume=true; killed: its process
        died without reporting (inferred, never written); unknown: no status.json.
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


class Mismatch(StrEnum):
    """What to do with a pretrained tensor of another shape.

    skip: leave the model's own start; slice: take the part that both have; interpolate: resample
        kernels and position tables, skip the others.
    """

    skip = "skip"
    slice = "slice"
    interpolate = "interpolate"


class Channels(StrEnum):
    """What to do with a pretrained stem for another number of input channels.

    repeat: its channels in turn, so that an image that is repeated gives the same response; mean:
        their mean, so that a grey image does; skip: leave the model's own start.
    """

    repeat = "repeat"
    mean = "mean"
    skip = "skip"


class Queries(StrEnum):
    """What to do with another number of pretrained queries.

    fit: the first of them, or all of them again and again; skip: leave the model's own start.
    """

    fit = "fit"
    skip = "skip"


class ClassHead(StrEnum):
    """What the class head starts from: the source's rows for classes of the same name, or nothing."""

    names = "names"
    fresh = "fresh"


class Positions(StrEnum):
    """Position encodings of the image's features: fixed sines, or a learned table."""

    sine = "sine"
    learned = "learned"


class DecoderHeads(StrEnum):
    """Which heads the decoder's layers have: one for all, or each what is its own."""

    shared = "shared"
    per_layer = "per_layer"


class Init(StrEnum):
    """How the weights start that come from no source; default: as the family starts them."""

    default = "default"
    xavier = "xavier"
    kaiming = "kaiming"
    trunc_normal = "trunc_normal"


class BatchNorm(StrEnum):
    """The batch norm of the backbone; auto: frozen when the backbone is pretrained, else live."""

    auto = "auto"
    frozen = "frozen"
    live = "live"
