"""The domains by preset name, and the preset of each kind of file."""

from __future__ import annotations

from nst_nd.domains.audio import AudioDomain
from nst_nd.domains.ct import CtDomain
from nst_nd.domains.domain import Domain
from nst_nd.domains.ecg import EcgDomain
from nst_nd.domains.image import ImageDomain
from nst_nd.domains.volume import VolumeDomain

PRESETS: dict[str, Domain] = {
    domain.name: domain for domain in (ImageDomain(), AudioDomain(), EcgDomain(), VolumeDomain(), CtDomain())
}
