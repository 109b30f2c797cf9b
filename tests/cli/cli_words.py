"""Words of command lines that several tests share."""

# a network of a few channels, so that a run takes milliseconds
SMALL = (
    *("--set", "extractor=random"),
    *("--set", "extractor.0.channels=[4, 4]"),
    *("--set", "content_layers=[relu2]"),
    *("--set", "style_layers=[relu1, relu2]"),
    *("--set", "scales=[1]"),
)
