"""The words that the project gave up, and what it says instead. `docs/glossary.md` has the words that it keeps."""

from __future__ import annotations

__all__ = ["CLASSES", "EVERYWHERE", "MODULES", "NAMES"]

# Refused in every file: code, comments, command line, configuration, JSON keys, metrics, documentation.
EVERYWHERE = {
    r"(?<!e)strange(?!r)": "anomaly score, anomalous",  # a stranger is somebody who is not enrolled
    r"(?<![a-z])heat(?!.?map)": "saliency concentration",  # a heat map is a heat map
    r"witness": "student",
    r"contradiction": "disagreement",
    r"(?<![a-z])beliefs?(?![a-z])": "logit components",
    r"(?<![a-z])victims(?![a-z])": "test images",
    r"silent[_ ](rate|share)|share[_ ]silent": "evasion rate",
    r"accepted[_ ](rate|fpr|false|share)": "target FPR",
    r"film": "camera model, simulate, record",
    r"trembl": "shake",
    r"sidecar": "sheet metadata",
    r"trial[_ ]lens": "trial fov",
}

# Refused as the name of a class.
CLASSES = {
    "Board": "LiveState",
    "Book": "AlertTracker",
    "Case": "Incident",
    "Desk": "a context",
    "Extent": "what it measures",
    "Filmed": "Recording",
    "Followed": "what it says",
    "Gate": "AuthenticationMiddleware; the inference gate is no class of its own",
    "Impatient": "RequestTimeout",
    "Judge": "DetectionStack, or what it scores",
    "Judges": "DetectionStack",
    "Judging": "what it scores",
    "Keeper": "RetentionJob",
    "Keys": "Sessions",
    "Kept": "what it says",
    "Lens": "PinholeCamera",
    "Made": "what it says",
    "MemoryKeeper": "what it does",
    "Mount": "Placement",
    "Parts": "Runtime, or what they are parts of",
    "Plan": "RunLimits, or what is planned",
    "Planned": "what is planned",
    "Preparer": "what it prepares",
    "Pulse": "Deadline",
    "Pulses": "Deadlines",
    "RadarEvidence": "RadarStatistics",
    "Shelf": "AlertRepository",
    "Shown": "what is shown",
    "Stand": "CameraPose",
    "Swap": "ConfigurationChange",
    "Thing": "Printable",
    "Told": "what it says",
    "World": "what it holds",
}

# Refused as the name of a module.
MODULES = {
    *("board", "book", "case", "desk", "extent", "heap", "heat", "impatient", "judge", "judges", "judging"),
    *("keeper", "keeping", "kept", "lens", "limited", "making", "memory", "mount", "mounted", "parts"),
    *("plan", "preparer", "pulse", "pulses", "settle", "shelf", "shown", "stand", "swap", "swapping", "thing"),
    *("told", "world"),
}

# Refused as a part of the name of a class or function: participles and moods are no nouns.
NAMES = {"told", "shown", "kept", "judging", "making", "mounted", "laid"}
