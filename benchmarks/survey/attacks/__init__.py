"""The attacks of the survey, by the name under which each is reported."""

from __future__ import annotations

from benchmarks.survey.attacks.advcam import camouflage
from benchmarks.survey.attacks.advgan import adversarial_gan
from benchmarks.survey.attacks.base import Attack, Attacked, Printed, Scale
from benchmarks.survey.attacks.bias import bias_patch
from benchmarks.survey.attacks.carlini import carlini_l2
from benchmarks.survey.attacks.diverse import diverse_fgsm
from benchmarks.survey.attacks.elastic import elastic_net
from benchmarks.survey.attacks.hat import embedding_hat
from benchmarks.survey.attacks.psgan import patch_gan
from benchmarks.survey.attacks.substitute import transferred_fgsm
from benchmarks.survey.attacks.suppression import dual_attention
from benchmarks.survey.attacks.swarm import swarm_glasses
from benchmarks.survey.attacks.toolbox import from_art
from benchmarks.survey.attacks.universal import from_kind

__all__ = ["ATTACKS", "WORN", "Attack", "Attacked", "Printed", "Scale"]

WORN = ("adv_hat", "swarm_glasses")
"""Attacks on faces alone."""

ATTACKS: dict[str, Attack] = {
    "adversarial_patch": Attack(
        "Adversarial Patch (Brown et al., 2017)", "physical", from_kind("patch", targeted=True),
        "named only", "200 steps; 0.3 of the side, anywhere, turned by up to 20 degrees",
    ),
    "rp2": Attack(
        "RP2 (Eykholt et al., 2018)", "physical", from_kind("sticker", targeted=True),
        "GTSRB-CNN: 95.7% drive-by, subtle poster 100%, art stickers 80%",
        "two bars on any sign, with norm, NPS and TV, under the camera model; no drive past",
    ),
    "ps_gan": Attack(
        "PS-GAN (Liu et al., 2019)", "physical", patch_gan,
        "accuracy GTSRB 89.5 to 12.5% (seed alone 85.6), ImageNet 87.6 to 25.0% (67.6), street 86.7 to 17.2%",
        "drawn scrawls in place of QuickDraw's; small generator and discriminator, 250 steps",
    ),
    "advcam": Attack(
        "AdvCam (Duan et al., 2020)", "physical", camouflage,
        "figures only", "features of the attacked network in place of VGG-19's; drawn rust as the style",
    ),
    "bias_patch": Attack(
        "Bias-based universal patch (Liu et al., 2020)", "physical", bias_patch,
        "RPC, black box, top-1 with the patch: VGG-16 73.72, AlexNet 31.68, ResNet-101 22.24%",
        "signs and objects in place of check-out pictures; hard examples are those with the largest entropy",
    ),
    "das": Attack(
        "Dual Attention Suppression (Wang et al., 2021)", "physical", dual_attention,
        "accuracy Inception-V3 74.36 to 39.86% digitally, 58.33 to 31.94% before a camera",
        "a texture on the middle of a photograph's object in place of a 3D car",
    ),
    "adv_hat": Attack(
        "AdvHat (Komkov and Petiushko, 2019)", "physical", embedding_hat,
        "figures only", "MobileFaceNet in place of ArcFace; the band is bent in the picture, not in 3D",
    ),
    "swarm_glasses": Attack(
        "Glasses in a black box (Sharif et al., 2016)", "physical", swarm_glasses,
        "dodging by particle swarm: no figure on the slides; white box 100%",
        "a coarse grid of colours; all particles start at random",
    ),
    "fgsm": Attack("FGSM (Goodfellow et al., 2014)", "digital", from_art("fgsm"), "named only", "eps 16/255"),
    "pgd": Attack("PGD (Madry et al., 2017)", "digital", from_art("pgd"), "93.18% at l2 5.57 (CIFAR-10)", "eps 16/255"),
    "cw": Attack(
        "Carlini and Wagner l2 (2017)", "digital", carlini_l2, "97.44% at l2 21.01 (CIFAR-10)",
        "150 iterations, no search for the constant",
    ),
    "ead": Attack(
        "EAD (Chen et al., 2018)", "digital", elastic_net,
        "ImageNet l1 69.47 (EN rule), 40.9 (L1 rule), C&W 232.2", "100 steps for each of three constants, EN rule",
    ),
    "zoo": Attack(
        "ZOO (Chen et al., 2017)", "digital", from_art("zoo"), "MNIST untargeted 100% at l2 1.496, CIFAR-10 0.200",
        "150 rounds of 128 coordinates",
    ),
    "boundary": Attack("Boundary Attack (Brendel et al., 2017)", "digital", from_art("boundary"), "named only",
                       "150 iterations"),
    "jsma": Attack("JSMA (Papernot et al., 2016)", "digital", from_art("jsma"), "90.33% at l2 28.04 (CIFAR-10)",
                   "theta 0.3, at most 2% of the values"),
    "one_pixel": Attack(
        "One pixel, 5 pixels (Su et al., 2019)", "digital", from_art("one_pixel"), "80.77% (CIFAR-10), 40.56% (ILSVRC)",
        "20 generations",
    ),
    "advgan": Attack(
        "AdvGAN (Xiao et al., 2018)", "digital", adversarial_gan,
        "semi-white-box: MNIST 97.9, 97.1, 98.3%; CIFAR-10 94.7, 99.3%", "small networks, 250 steps; eps 16/255",
    ),
    "pbba": Attack(
        "PBBA, a substitute (Papernot et al., 2017)", "digital", transferred_fgsm,
        "named only", "3 rounds from 150 pictures, 3 or 4 of each sign; FGSM at 32/255 on the substitute",
    ),
    "mdi2_fgsm": Attack(
        "M-DI2-FGSM (Xie et al., 2019)", "digital", diverse_fgsm,
        "94.60% (CIFAR-10 ResNet-18), 99.00% (ILSVRC VGG-19)", "20 steps of 2/255, eps 16/255, p 0.5",
    ),
}  # fmt: skip
