"""Files to Samples and back, in any format that has a codec."""

from nst_nd.io.codec import ReadOptions, codec_for, load, save, stem_of, suffix_of

__all__ = ["ReadOptions", "codec_for", "load", "save", "stem_of", "suffix_of"]
