"""Every row of the survey: what stands for it here, or why nothing does."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One system that the survey names."""

    name: str
    year: int
    group: str
    """`digital`, `physical`, `other` or `defence`."""
    here: str
    """What measures it: an attack, detector or network of this bench by name, or another benchmark's command."""
    out: str = ""
    """Why it is not measured, where it is not."""
    published: str = ""
    """The sources' figures; those of an attack stand with it."""


def _here(group: str, *rows: tuple[str, int, str] | tuple[str, int, str, str]) -> tuple[Row, ...]:
    return tuple(Row(name, year, group, here, published="".join(figures)) for name, year, here, *figures in rows)


def _out(group: str, *rows: tuple[str, int, str]) -> tuple[Row, ...]:
    return tuple(Row(name, year, group, "", reason) for name, year, reason in rows)


ROWS: tuple[Row, ...] = (
    *_here(
        "digital",
        ("FGSM", 2014, "attack fgsm"),
        ("C&W", 2017, "attack cw"),
        ("PGD", 2017, "attack pgd"),
        ("PBBA (substitute model)", 2017, "attack pbba"),
        ("ZOO", 2017, "attack zoo"),
        ("Boundary Attack", 2017, "attack boundary"),
        ("EAD", 2018, "attack ead"),
        ("AdvGAN", 2018, "attack advgan"),
        ("JSMA", 2016, "attack jsma"),
        ("one pixel", 2019, "attack one_pixel"),
        ("M-DI2-FGSM", 2019, "attack mdi2_fgsm"),
        ("region attacks (FCRs, CFRs)", 2021, "python -m benchmarks.published.region",
         "100% at l2 1.56 (CIFAR-10) and 42.94 (ILSVRC)"),
    ),
    *_out("digital", ("CAR", 2021, "the slides give the name alone: no definition, no authors, no figure")),
    *_here(
        "physical",
        ("Adversarial Patch (Brown)", 2017, "attack adversarial_patch"),
        ("DPatch", 2018, "python -m benchmarks.objects",
         "mAP Faster R-CNN 75.10 to 2.90, 0.98 targeted; YOLO 65.70 to 0.00, 1.85 targeted"),
        ("person patch (Thys)", 2019, "python -m benchmarks.objects",
         "recall 100% clean, 87.14 noise, 26.46 objectness, 39.31 both, 77.58 class"),
        ("glasses, white box", 2016, "python -m benchmarks.faces",
         "dodging 100%, impersonation 91.67, 100, 100%; worn: dodging 80 to 100%, impersonation 16.13 to 100%"),
        ("glasses, particle swarm", 2016, "attack swarm_glasses"),
        ("RP2", 2018, "attack rp2"),
        ("PS-GAN", 2019, "attack ps_gan"),
        ("AdvHat", 2019, "attack adv_hat"),
        ("AdvCam", 2020, "attack advcam"),
        ("bias-based patch", 2020, "attack bias_patch"),
        ("Dual Attention Suppression", 2021, "attack das"),
    ),
    *_out(
        "physical",
        ("ShapeShifter", 2018,
         "perturbs a stop sign against a two-stage detector's box classifier; the object bench's change of class "
         "(python -m benchmarks.objects) is its nearest work, on a one-stage detector"),
        ("UPC", 2020,
         "patterns on a person in a 3D scene against a two-stage detector's proposals; the object bench has "
         "pictures and a one-stage detector"),
    ),
    *_out(
        "other",
        ("motion-excited sampler", 2020,
         "attacks video classifiers by motion; Taintwatch watches classifiers of single frames"),
        ("DeepWordBug", 2018, "attacks text"),
        ("CTC attack", 2018, "attacks speech recognition"),
        ("adversarial policies", 2019, "attack a reinforcement-learning opponent by acting, not by a picture"),
        ("backdoor injection, c-BaN", 2020,
         "how a trigger gets into the weights; what a camera sees of it, the trigger in the picture, is BadNets' "
         "here"),
        ("poison frogs, MetaPoison, embedding poisoning", 2018,
         "poison training data: at run time the picture is benign and there is nothing to see"),
        ("model extraction, simulator attack, dataset inference", 2016,
         "steal or trace a model by its answers; nothing is put before a camera"),
        ("deepfakes", 2017, "synthetic faces in a video, not an object that fools a classifier"),
        ("Foolbox, DeepTest, AISafety", 2017,
         "toolboxes; what they do to pictures is here under each attack's own name"),
    ),
    *_here(
        "other",
        ("BadNets", 2017, "python -m benchmarks.zoo signs_backdoor", "named only"),
        ("ART", 2018, "python -m benchmarks.art_comparison", "a toolbox: no figure"),
    ),
    *_here(
        "defence",
        ("ComDefend", 2019, "detector comdefend",
         "right behind it, CIFAR-10: clean 91, FGSM 86/84/83, BIM 78/41/34, C&W 88% (eps 2/8/16)"),
        ("PixelDefend", 2018, "detector pixeldefend",
         "right behind it, strongest attack: 71/46/24% (eps 2/8/16); 9% by BPDA"),
        ("MagNet", 2017, "detector magnet",
         "by CMAG's authors: FGSM 100%; C&W 100 to 21% (MNIST), 0 (GTSRB)"),
        ("feature squeezing", 2018, "detector squeezing", "not among the sources"),
        ("adversarial training", 2017, "network signs_robust",
         "CIFAR-10 ResNet-18: PGD succeeds 57.57% (PGD training), 63.66% (Fast); C&W 65.71, 70.79%"),
        ("ensemble adversarial training", 2018, "network signs_ensemble", "named only"),
        ("detector subnetwork, static adversary", 2017, "detector subnetwork", "above 80% of each"),
        ("detector subnetwork, dynamic adversary", 2017, "detector subnetwork_dynamic", "above 70%"),
        ("feature denoising", 2019, "network signs_denoising",
         "black box, ResNet-152: 43.1 to 49.5% right"),
        ("digital watermarking", 2018, "detector watermarking",
         "by TaintRadar's authors: 5% robust against BPDA at 5% of the picture"),
        ("local gradients smoothing", 2019, "detector lgs", "not in figures"),
        ("SentiNet", 2020, "detector sentinet",
         "by TaintRadar's authors: 98.11% at 4% on its own patches; faces 0.72% at 2%"),
        ("Minority Reports", 2020, "detector minority_3", "not among the sources"),
        ("PatchGuard", 2021, "detector patchguard", "not among the sources"),
        ("PatchCleanser", 2022, "detector double_masking_3", "not among the sources"),
        ("segment and complete", 2022, "detector sac", "not among the sources"),
    ),
    *_out(
        "defence",
        ("Face X-ray", 2020, "finds the seam of a blended deepfake: see deepfakes"),
        ("Defense-GAN", 2018,
         "measured on CMAG's Fashion-MNIST, 28 pixels a side; for these networks' 64 to 224 a generator that they can "
         "read takes hours of a GPU, and MagNet, ComDefend and PixelDefend stand for rebuilding"),
        ("(De)Randomized smoothing", 2020,
         "certifies a classifier that was trained on bands of pictures; on these networks its votes are noise. "
         "PatchCleanser certifies a classifier as it is"),
        ("Jedi", 2023,
         "its autoencoder is trained on the masks of its own patches; that patches have much fine detail is what "
         "LGS measures, and SAC learns"),
    ),
)  # fmt: skip
"""The survey's own, and the patch defences since."""
