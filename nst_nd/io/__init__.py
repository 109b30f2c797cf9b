"""Files to Samples and back, in any format that has a codec."""

from nst_nd.io.codec import (
    ReadOptions,
    check_source,
    codec_for,
    folder_of,
    glance,
    load,
    outline,
    save,
    stem_of,
    suffix_of,
)

__all__ = [
    "ReadOptions",
    "check_source",
    "codec_for",
    "folder_of",
    "glance",
    "load",
    "outline",
    "save",
    "stem_of",
    "suffix_of",
]
