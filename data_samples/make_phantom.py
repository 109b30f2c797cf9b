"""Makes the CT phantom: anatomy, resolution and noise spectrum are known in closed form, because nothing is simulated.

Every slice is a sum of ellipses, whose Fourier transforms are known (jinc functions). That sum is multiplied by the
modulation transfer function of a reconstruction kernel and sampled on the voxel grid. Noise is one white Gaussian
realisation a slice, independent from slice to slice, shaped to the noise power spectrum of the same kernel. Both
kernels of one seed get the same white noise, as two reconstructions of one scan do.

    MTF(f) = cos^2(pi/2 (f / cutoff)^p) below the cutoff, 0 above; p is such that MTF(f50) = 1/2
    NPS(f) = K f MTF(f)^2, f = sqrt(u^2 + v^2) in 1/mm, K such that the integral over |u|, |v| <= Nyquist is sd^2

`python make_phantom.py` writes the three volumes and phantom.json beside itself; `--check` measures what it promises;
`--size 512 512 48 --centre 0 0 --out DIR` makes whole bodies instead of the crop.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.special import j1

Array = NDArray[np.floating[Any]]

AIR, FAT, SOFT, LUNG, VESSEL, BONE = -1000.0, -100.0, 50.0, -850.0, 40.0, 700.0
INSERTS = (-100.0, 0.0, 40.0, 60.0, 120.0)  # HU, discs of 14 mm in slices below z = 0
FIELD_OF_VIEW = 350.0  # mm; the body is 330 mm wide, and a period must hold all of it


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: f50 and cutoff in 1/mm, noise_sd in HU (0 for a noise-free phantom)."""

    f50: float
    noise_sd: float
    cutoff: float

    def mtf(self, f: Array) -> Array:
        """Modulation transfer, 1 at f = 0, at spatial frequencies f in 1/mm."""
        power = np.log(0.5) / np.log(self.f50 / self.cutoff)
        inside = np.minimum(f / self.cutoff, 1.0)
        return np.asarray(np.cos(np.pi / 2 * inside**power) ** 2 * (f < self.cutoff))

    def nps_constant(self, spacing: Sequence[float]) -> float:
        """K of NPS(f) = K f MTF(f)^2, in HU^2 mm^3, on pixels of this size in mm."""
        f = grid_frequencies(1024, spacing, half=False)
        # a mean over the Nyquist square times its area is the integral
        integral = np.mean(f * self.mtf(f) ** 2) / (spacing[0] * spacing[1])
        return float(self.noise_sd**2 / integral)

    def nps(self, f: Array, spacing: Sequence[float]) -> Array:
        """Noise power spectrum in HU^2 mm^2 at radial frequencies f in 1/mm, below the grid's Nyquist frequency."""
        return np.asarray(self.nps_constant(spacing) * f * self.mtf(f) ** 2)


KERNELS = {
    "sharp": Kernel(f50=0.60, noise_sd=30.0, cutoff=0.80),
    "smooth": Kernel(f50=0.35, noise_sd=10.0, cutoff=0.65),
}


@dataclass(frozen=True)
class Ellipse:
    """Adds `delta` HU inside an ellipse: centre x (to the left), y (to the back), half axes a, b in mm, angle in rad.

    It exists in slices whose centre z (to the head, mm) is in low..high.
    """

    x: float
    y: float
    a: float
    b: float
    delta: float
    angle: float = 0.0
    low: float = -np.inf
    high: float = np.inf


def grid_frequencies(n: int, spacing: Sequence[float], *, half: bool) -> Array:
    """Radial frequencies in 1/mm of an n x n DFT, or of the half that a real DFT keeps."""
    v = np.fft.rfftfreq(n, spacing[1]) if half else np.fft.fftfreq(n, spacing[1])
    return np.asarray(np.hypot(np.fft.fftfreq(n, spacing[0])[:, None], v[None, :]))


def period(size: Sequence[int], spacing: Sequence[float]) -> int:
    """Side in pixels of the periodic grid on which a slice is made before it is cropped to `size`."""
    return int(next_fast_len(max(int(np.ceil(FIELD_OF_VIEW / min(spacing[:2]))), *size[:2]), real=True))


def vessels(z: float, lung: Ellipse, rng: np.random.Generator) -> Iterator[Ellipse]:
    """Oblique cylinders, thickest near the hilum, cut at height z, wherever they lie wholly inside the lung."""
    taken: list[tuple[float, float, float]] = []
    for order in range(150):
        radius = 4.0 * 0.983**order
        x, y = rng.uniform(-1, 1, 2) * (44, 64) + (np.sign(lung.x) * 82, 5)
        slope, angle = rng.uniform(0.0, 1.2), rng.uniform(0, 2 * np.pi)
        # the cut of a cylinder leaning by `slope` is an ellipse, longer along the direction in which it leans
        x, y = x + slope * np.cos(angle) * (z - 40), y + slope * np.sin(angle) * (z - 40)
        reach = radius * np.hypot(1, slope) + 1.5
        inside = lung.a > reach and np.hypot((x - lung.x) / (lung.a - reach), (y - lung.y) / (lung.b - reach)) < 1
        if inside and all(np.hypot(x - s, y - t) > reach + r for s, t, r in taken):
            taken.append((x, y, reach))
            yield Ellipse(x, y, radius * np.hypot(1, slope), radius, VESSEL - LUNG, angle)


def body(z: float, anatomy: int) -> Iterator[Ellipse]:
    """The ellipses that make the slice at height z; `anatomy` seeds the vessels of both lungs."""
    yield Ellipse(0, 0, 165, 115, FAT - AIR)
    yield Ellipse(0, 0, 153, 103, SOFT - FAT)
    yield Ellipse(0, 62, 20, 17, BONE - SOFT)
    yield Ellipse(0, 88, 5, 7, BONE - SOFT)
    for side in (-1, 1):
        for k, hu in enumerate(INSERTS):
            yield Ellipse(side * (10 + 21 * k), 4, 7, 7, hu - SOFT, high=-0.1)
        if 0 < z < 160:
            scale = float(np.sqrt(1 - ((z - 80) / 80) ** 2))
            lung = Ellipse(side * 82, 5, 44 * scale, 64 * scale, LUNG - SOFT)
            yield lung
            yield from vessels(z, lung, np.random.default_rng([anatomy, side + 1]))


def spectrum(ellipse: Ellipse, u: Array, v: Array, origin: Sequence[float]) -> NDArray[np.complex128]:
    """Fourier transform in HU mm^2 of an ellipse on u [n, 1] x v [1, m] in 1/mm, positions relative to `origin`."""
    c, s = np.cos(ellipse.angle), np.sin(ellipse.angle)
    rho = np.hypot(ellipse.a * (c * u + s * v), ellipse.b * (c * v - s * u))
    rho = np.maximum(rho, 1e-9)  # the limit at 0 is the area
    jinc = ellipse.a * ellipse.b * j1(2 * np.pi * rho) / rho
    shift = np.exp(-2j * np.pi * u * (ellipse.x - origin[0])) * np.exp(-2j * np.pi * v * (ellipse.y - origin[1]))
    return np.asarray(ellipse.delta * jinc * shift)


def make_phantom(
    size: Sequence[int] = (160, 160, 16),
    spacing: Sequence[float] = (0.7, 0.7, 5.0),
    kernel: str | Kernel = "sharp",
    seed: int = 0,
    *,
    centre: Sequence[float] = (0.0, 0.0),
    anatomy: int = 0,
    extra: Sequence[Ellipse] = (),
) -> NDArray[np.int16]:
    """HU [i, j, k]: i runs to the left, j to the back, k to the head; z = 0 mm lies half way through the slices.

    size in voxels, spacing in mm; kernel: a name in KERNELS or any Kernel; seed: of the noise; centre: (x, y) in mm of
    the middle of the image; anatomy: seed of the vessels; extra: further ellipses, lesions for instance. Two kernels
    with the same seed see the same white noise; a crop of a larger phantom of the same seed has other noise.
    Raises KeyError for an unknown kernel name.
    """
    kernel = KERNELS[kernel] if isinstance(kernel, str) else kernel
    (nx, ny, nz), (dx, dy, dz) = size, spacing
    n = period(size, spacing)
    origin = (centre[0] - (nx - 1) / 2 * dx, centre[1] - (ny - 1) / 2 * dy)
    u, v = np.fft.fftfreq(n, dx)[:, None], np.fft.rfftfreq(n, dy)[None, :]
    f = grid_frequencies(n, spacing, half=True)
    transfer = kernel.mtf(f) / (dx * dy)
    shape = np.sqrt(kernel.nps_constant(spacing) * f / (dx * dy)) * kernel.mtf(f)
    rng = np.random.default_rng(seed)
    volume = np.empty(tuple(size), np.int16)
    for k in range(nz):
        z = (k - (nz - 1) / 2) * dz
        present = [e for e in (*body(z, anatomy), *extra) if e.low <= z <= e.high]
        total = shape * rfft2(rng.standard_normal((n, n)))
        for ellipse in present:
            total += transfer * spectrum(ellipse, u, v, origin)
        volume[:, :, k] = np.rint(AIR + irfft2(total, s=(n, n))[:nx, :ny])
    return volume


def affine(size: Sequence[int], spacing: Sequence[float], centre: Sequence[float]) -> Array:
    """Voxel to world in RAS+ mm: i runs to the left and j to the back, so that both have a minus sign."""
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = [
        -centre[0] + (size[0] - 1) / 2 * spacing[0],
        -centre[1] + (size[1] - 1) / 2 * spacing[1],
        -(size[2] - 1) / 2 * spacing[2],
    ]
    return matrix


def write_nifti(volume: NDArray[np.int16], matrix: Array, path: Path) -> None:
    """Write int16 HU with slope 1, both orientation codes 1, mm and seconds; no time in the gzip header."""
    image: Any = nib.Nifti1Image(volume, matrix)  # type: ignore[no-untyped-call]
    image.set_sform(matrix, 1)
    image.set_qform(matrix, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"nst_nd CT phantom, HU, synthetic"
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def measure_f50(kernel: Kernel, spacing: Sequence[float] = (0.7, 0.7, 5.0)) -> float:
    """f50 in 1/mm of the derivative of the radial edge profile of a noise-free disc (radius 25 mm, 200 HU)."""
    quiet, disc = Kernel(kernel.f50, 0.0, kernel.cutoff), Ellipse(60.3, 40.2, 25, 25, 200)
    image = make_phantom((128, 128, 1), (*spacing[:2], 5.0), quiet, centre=(60, 40), extra=[disc])[:, :, 0]
    x = (np.arange(128) - 63.5) * spacing[0] + 60 - disc.x
    y = (np.arange(128) - 63.5) * spacing[1] + 40 - disc.y
    radius = np.hypot(x[:, None], y[None, :]).ravel()
    step, half = 0.1, 12.0  # mm: bins of the profile, and how far from the edge it goes
    bins = np.floor((radius - disc.a + half) / step).astype(int)
    near = (bins >= 0) & (bins < int(2 * half / step))
    edge = np.bincount(bins[near], image.ravel()[near]) / np.bincount(bins[near])
    f = np.arange(0.01, 0.8, 0.005)
    position = (np.arange(len(edge) - 1) + 1) * step
    line = -np.diff(edge) * np.hanning(len(edge) - 1)
    # averaging over a bin and differencing over it both multiply by sinc(f step)
    mtf = np.abs(np.exp(-2j * np.pi * f[:, None] * position) @ line) / np.sinc(f * step) ** 2
    return float(np.interp(-0.5, -mtf / mtf[0], f))


def measure_noise(kernel: Kernel, slices: int = 4, spacing: Sequence[float] = (0.7, 0.7, 5.0)) -> tuple[Array, Array]:
    """2-D noise power spectrum in HU^2 mm^2 [n, n] and its radial frequencies in 1/mm, over one whole period.

    The noise is what is left when the noise-free phantom is taken from the noisy one, so rounding is part of it.
    The integral of the spectrum, its mean divided by the pixel area, is the variance.
    """
    n = period((1, 1), spacing)
    quiet = Kernel(kernel.f50, 0.0, kernel.cutoff)
    noisy, clean = (make_phantom((n, n, slices), spacing, k, 3) for k in (kernel, quiet))
    transform = np.fft.fft2(noisy - clean.astype(np.float64), axes=(0, 1))
    power = np.mean(np.abs(transform) ** 2, axis=2) * spacing[0] * spacing[1] / n**2
    return power, grid_frequencies(n, spacing, half=False)


def check(spacing: Sequence[float]) -> None:
    """Print what the kernels promise beside what is measured."""
    for name, kernel in KERNELS.items():
        power, f = measure_noise(kernel, spacing=spacing)
        variance = power.mean() / (spacing[0] * spacing[1])
        above = power[f > kernel.cutoff].mean() if (f > kernel.cutoff).any() else 0.0
        print(f"{name}: f50 {kernel.f50:.3f} /mm, measured {measure_f50(kernel, spacing):.3f}")
        print(f"  noise sd {kernel.noise_sd:.2f} HU, measured {np.sqrt(variance):.2f} (the integral of the spectrum)")
        print(f"  above {kernel.cutoff} /mm: {above:.4f} HU^2 mm^2, rounding twice {spacing[0] * spacing[1] / 6:.4f}")
        for low in np.arange(0.1, 0.7, 0.1):
            ring = (f >= low) & (f < low + 0.1)
            got, promised = power[ring].mean(), kernel.nps(f[ring], spacing).mean()
            print(f"  NPS {low:.1f} to {low + 0.1:.1f} /mm: {promised:8.2f} HU^2 mm^2, measured {got:8.2f}")


def describe(name: str, options: dict[str, object], size: Sequence[int], spacing: Sequence[float]) -> dict[str, object]:
    """The truth about one volume, for phantom.json."""
    kernel = KERNELS[name]
    return {
        "kernel": name,
        "f50_per_mm": kernel.f50,
        "noise_sd_hu": kernel.noise_sd,
        "cutoff_per_mm": kernel.cutoff,
        "nps_constant_hu2_mm3": round(kernel.nps_constant(spacing), 4),
        "size_voxels": list(size),
        "spacing_mm": list(spacing),
        "centre_left_back_mm": options["centre"],
        "noise_seed": options["seed"],
        "vessel_seed": options["anatomy"],
    }


def main() -> None:
    """Write the three volumes and phantom.json, or check the kernels."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--size", type=int, nargs=3, default=(160, 160, 16), help="voxels (160 160 16)")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.7, 0.7, 5.0), help="mm (0.7 0.7 5)")
    parser.add_argument("--centre", type=float, nargs=2, default=(52.0, 46.0), help="mm, left and back (52 46)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise; the other scan takes the next one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (that of this script)")
    parser.add_argument("--check", action="store_true", help="measure f50, noise and spectrum; write nothing")
    args = parser.parse_args()
    if args.check:
        check(args.spacing)
        return
    x, y = args.centre
    here = {"centre": (x, y), "seed": args.seed, "anatomy": 0}
    # the other scan: the other side of another body, with noise of its own
    other = {"centre": (-x, y), "seed": args.seed + 1, "anatomy": 1}
    truth: dict[str, object] = {
        "mtf": "cos(pi/2 (f/cutoff)^p)^2, p = ln(1/2) / ln(f50/cutoff)",
        "nps": "K f MTF(f)^2 in HU^2 mm^2, f in 1/mm; K is nps_constant; white from slice to slice",
        "tissues_hu": {"air": AIR, "fat": FAT, "soft": SOFT, "lung": LUNG, "vessel": VESSEL, "bone": BONE},
        "inserts_hu": list(INSERTS),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for stem, name, options in (("sharp", "sharp", here), ("smooth", "smooth", here), ("other_sharp", "sharp", other)):
        volume = make_phantom(args.size, args.spacing, name, **options)
        file = f"phantom_{stem}.nii.gz"
        write_nifti(volume, affine(args.size, args.spacing, options["centre"]), args.out / file)
        truth[file] = describe(name, options, args.size, args.spacing)
    (args.out / "phantom.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
