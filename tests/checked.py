"""What checks annotations in tests: beartype, with an int where a float is meant, as PEP 484 and mypy have it."""

from beartype import BeartypeConf, beartype

annotations = beartype(conf=BeartypeConf(is_pep484_tower=True))
