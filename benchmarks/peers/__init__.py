"""Detectors of the literature, written from their papers and small, for comparison only: see docs/peers.md."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.base import Factory, Peer, Recoverer
from benchmarks.peers.comdefend import ComDefend
from benchmarks.peers.defense_gan import DefenseGan
from benchmarks.peers.double_masking import DoubleMasking
from benchmarks.peers.lgs import LocalGradientsSmoothing
from benchmarks.peers.magnet import MagNet
from benchmarks.peers.masks import MaskPlan
from benchmarks.peers.minority import MinorityReports
from benchmarks.peers.patchguard import PatchGuard
from benchmarks.peers.pixeldefend import PixelDefend
from benchmarks.peers.sac import SegmentAndComplete
from benchmarks.peers.sentinet import SentiNet
from benchmarks.peers.squeezing import FeatureSqueezing
from benchmarks.peers.subnetwork import DetectorSubnetwork
from benchmarks.peers.watermarking import DigitalWatermarking

__all__ = ["PEERS", "Factory", "Peer", "Recoverer"]

PEERS: dict[str, Factory] = {
    "sentinet": SentiNet,
    "lgs": LocalGradientsSmoothing,
    "double_masking_3": partial(DoubleMasking, plan=MaskPlan(count=3)),
    "double_masking_6": partial(DoubleMasking, plan=MaskPlan(count=6)),
    "minority_3": partial(MinorityReports, plan=MaskPlan(count=3)),
    "minority_6": partial(MinorityReports, plan=MaskPlan(count=6)),
    "squeezing": FeatureSqueezing,
    "magnet": MagNet,
    "defense_gan": DefenseGan,
    "watermarking": DigitalWatermarking,
    "comdefend": ComDefend,
    "pixeldefend": PixelDefend,
    "subnetwork": DetectorSubnetwork,
    "subnetwork_dynamic": partial(DetectorSubnetwork, dynamic=True),
    "patchguard": PatchGuard,
    "sac": SegmentAndComplete,
}
"""By the name under which each is reported."""
