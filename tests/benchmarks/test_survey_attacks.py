"""The survey's attacks: each equation against an oracle, and every attack on a classifier that likes magenta."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.survey.attacks import (
    ATTACKS,
    WORN,
    Scale,
    advcam,
    advgan,
    bias,
    carlini,
    diverse,
    elastic,
    psgan,
    substitute,
    suppression,
)
from benchmarks.survey.attacks.features import attention, gram, style_loss
from benchmarks.survey.attacks.hat import cosine_to_own
from benchmarks.survey.attacks.scrawls import scrawls, smile
from benchmarks.survey.attacks.swarm import Swarm, fly, swarm_glasses
from benchmarks.survey.attacks.toolbox import ART_SETTINGS
from benchmarks.survey.cells import attack_cell, attacked_pictures
from benchmarks.survey.subject import Subject, split_subject
from taintwatch_calibration.craft.attack_folder import crafted_attack
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import read_description
from tests.craft_scene import SIZE, write_classifier

TINY = Scale(pictures=4, steps=0.02)
SLOW = ("zoo", "boundary", "one_pixel", "jsma")  # ART's own loops


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """`scene` where it is bright, `toaster` where enough is magenta; grey pictures, all of them scenes."""
    path = write_classifier(tmp_path_factory.mktemp("survey") / "model.onnx")
    radar = prepare(path, read_description(path.with_suffix(".toml"))).radar
    grey = np.random.default_rng(0).integers(100, 150, (60, SIZE, SIZE, 1), np.uint8).repeat(3, axis=3)
    labels = np.zeros(60, np.int64)
    return split_subject("tiny", radar, (grey[:40], labels[:40]), (grey[40:], labels[40:]), 1, path.parent, path.parent)


def test_a_gram_matrix_is_the_mean_product_of_channels_and_style_compares_them() -> None:
    maps = torch.randn(2, 3, 4, 5)
    for row in range(2):
        for first in range(3):
            for second in range(3):
                product = (maps[row, first] * maps[row, second]).sum() / (3 * 4 * 5)
                assert gram(maps)[row, first, second] == pytest.approx(float(product), abs=1e-6)
    wanted = [gram(maps[:1])]
    distances = style_loss([maps], wanted)
    apart = (gram(maps)[1] - gram(maps)[0]).square().sum() / gram(maps)[0].square().sum()
    assert distances.tolist() == pytest.approx([0.0, float(apart)], abs=1e-6)


def test_attention_is_grad_cam(subject: Subject) -> None:
    pixels = subject.to_attack(2).pixels
    inputs = subject.normalise(pixels)
    maps = subject.model.maps(inputs).detach().requires_grad_(True)
    subject.model.head(maps)[:, 0].sum().backward()
    assert maps.grad is not None
    wanted = F.relu((maps.grad.mean((2, 3), keepdim=True) * maps).sum(1)).detach()
    assert torch.allclose(
        attention(subject.model, inputs, torch.zeros(2, dtype=torch.long)).detach(), wanted, atol=1e-6
    )


def test_ps_gans_generator_minimises_its_three_terms() -> None:
    made, seeds, logits = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.randn(2, 5)
    told, own, weights = torch.tensor([[0.3], [-1.0]]), torch.tensor([1, 4]), psgan.Weights(0.5, 2.0, 3.0)
    gan = -torch.log(torch.sigmoid(told)).mean()
    patch = torch.stack([(made[i] - seeds[i]).square().sum().sqrt() for i in range(2)]).mean()
    adversarial = torch.stack([logits[i].softmax(0)[own[i]].log() for i in range(2)]).mean()
    found = psgan.generator_loss(made, seeds, told, logits, own, weights)
    assert float(found) == pytest.approx(float(3 * gan + 0.5 * patch + 2 * adversarial), rel=1e-5)


def test_ps_gan_lays_its_patch_where_the_attention_is(subject: Subject) -> None:
    dark = torch.full((1, 3, SIZE, SIZE), 0.05)
    dark[:, :, 20:28, 4:12] = 1.0  # brightness is what `scene` rests on
    place = psgan.attended_places(subject, dark, torch.zeros(1, dtype=torch.long), 0.25)
    assert float(place.x[0]) == pytest.approx(8 / 16 - 1, abs=0.05)
    assert float(place.y[0]) == pytest.approx(24 / 16 - 1, abs=0.05)
    untrained = psgan.PatchGenerator()(scrawls(2, 32))
    assert untrained.shape == (2, 3, 32, 32)
    assert 0 <= float(untrained.detach().min()) <= float(untrained.detach().max()) <= 1


def test_carlini_and_wagner_keeps_the_smallest_change_that_fools(subject: Subject) -> None:
    kept = carlini.Smallest(torch.zeros(2, 1, 1, 1))
    for value, fooled in ((0.9, (False, True)), (0.5, (False, True)), (0.7, (False, True)), (0.6, (False, False))):
        kept.take(torch.full((2, 1, 1, 1), value), torch.full((2,), value**2), torch.tensor(fooled))
    assert kept.made.flatten().tolist() == pytest.approx([0.6, 0.5])
    made = carlini.carlini_l2(subject, Scale(pictures=4, steps=0.5), constant=100.0)
    assert (subject.labels_of(made.after) != made.own.numpy()).all()


def test_the_elastic_net_shrinks_as_printed_and_fools(subject: Subject) -> None:
    moved = torch.tensor([0.5, 0.5005, 0.6, 0.4, 1.2, -0.2])
    own = torch.full((6,), 0.5)
    assert elastic.shrunk(moved, own, 0.001).tolist() == pytest.approx([0.5, 0.5, 0.599, 0.401, 1.0, 0.0])
    made = elastic.elastic_net(subject, Scale(pictures=4, steps=0.2))
    assert (subject.labels_of(made.after) != made.own.numpy()).all()


def test_advcams_content_is_a_distance_of_maps_and_nothing_but_the_surface_changes(subject: Subject) -> None:
    maps, own = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    wanted = [float((maps[i] - own[i]).square().sum() / own[i].square().sum()) for i in range(2)]
    assert advcam.content_loss(maps, own).tolist() == pytest.approx(wanted, rel=1e-5)
    made = advcam.camouflage(subject, TINY)
    outside = advcam.surface(SIZE)[0, 0].numpy() == 0
    assert (made.before[:, outside] == made.after[:, outside]).all()
    assert (made.before != made.after).any()


def test_bias_patch_uses_entropy_margins_and_leads_as_printed() -> None:
    logits, label = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 2, 3])
    for row in range(3):
        shares = logits[row].softmax(0)
        t = int(label[row])
        uncertain = -sum(float(share * share.log()) for share in shares)
        margin = sum(max(0.0, 10 - float(logits[row, t]) + float(logits[row, c])) for c in range(4) if c != t) / 3
        lead = float(shares[t]) - max(float(shares[c]) for c in range(4) if c != t)
        assert float(bias.entropy(logits)[row]) == pytest.approx(uncertain)
        assert float(bias.margin_loss(logits, label)[row]) == pytest.approx(margin)
        assert float(bias.prototype_lead(logits, label)[row]) == pytest.approx(lead)


def test_prototypes_are_pictures_of_their_class_and_the_prior_is_unsure(subject: Subject) -> None:
    pictures, labels = bias.prototypes(subject, Scale(steps=1.0))
    with torch.no_grad():
        found = subject.logits(pictures).argmax(1)
    assert (found == labels)[:2].all()  # `nothing` has no weight at all: no picture shows it


def test_distraction_averages_over_connected_regions() -> None:
    saliency = torch.zeros(1, 6, 6)
    saliency[0, :2, :2], saliency[0, 4:, 3:] = 1.0, 0.5
    wanted = (4 * 1.0 / (36 - 4) + 6 * 0.5 / (36 - 6)) / 2
    assert float(suppression.distraction(saliency)[0]) == pytest.approx(wanted)
    assert float(suppression.distraction(2 * saliency)[0]) == pytest.approx(2 * wanted)  # fading attention counts
    assert float(suppression.distraction(torch.zeros(1, 6, 6))[0]) == 0


def test_evasion_weighs_the_edges_of_the_seed_content() -> None:
    texture, (content, edges) = torch.rand(3, 16, 16), smile(16)
    total = 0.0
    for channel in range(3):
        for y in range(16):
            for x in range(16):
                factor = 8 * float(edges[0, y, x]) + 1
                total += (factor * float(texture[channel, y, x] - content[channel, y, x])) ** 2
    assert float(suppression.evasion(texture, content, edges)) == pytest.approx(total / (3 * 16 * 16), rel=1e-4)
    assert 0 < float(edges.mean()) < 0.5


def test_a_swarm_moves_as_printed_never_gets_worse_and_finds_a_valley() -> None:
    def cost(places: torch.Tensor) -> torch.Tensor:
        return (places - 0.3).flatten(1).square().sum(1)

    best, history = fly(cost, (6,), 60, Swarm(), 0)
    assert all(later <= earlier for earlier, later in itertools.pairwise(history))
    assert len(history) == 61
    assert torch.allclose(best, torch.full((6,), 0.3), atol=0.02)
    # One particle is its own best and the swarm's: only its inertia moves it.
    generator = torch.Generator().manual_seed(4)
    start = torch.rand(1, 3, generator=generator)
    speed = 0.73 * 0.2 * (torch.rand(1, 3, generator=generator) - 0.5)
    seen: list[torch.Tensor] = []

    def look(places: torch.Tensor) -> torch.Tensor:
        seen.append(places.clone())
        return torch.zeros(1)

    fly(look, (3,), 1, Swarm(particles=1), 4)
    assert torch.allclose(seen[1], (start + speed).clamp(0, 1))


def test_advhat_lowers_the_cosine_of_the_embedding_to_the_wearers_anchor_whatever_its_length() -> None:
    embedding, anchors, own = torch.randn(2, 8), torch.randn(5, 8), torch.tensor([3, 0])
    for row in range(2):
        anchor = anchors[own[row]]
        wanted = float(embedding[row] @ anchor / (embedding[row].norm() * anchor.norm()))
        assert float(cosine_to_own(embedding, anchors, own)[row]) == pytest.approx(wanted, abs=1e-6)
    assert torch.allclose(cosine_to_own(7 * embedding, anchors, own), cosine_to_own(embedding, anchors, own))


def test_advgan_bounds_its_change_and_minimises_its_three_terms() -> None:
    change = torch.zeros(2, 3, 4, 4)
    change[0, 0, 0, 0], change[1] = 5.0, 0.1
    assert advgan.hinge(change, 3.0).tolist() == pytest.approx([2.0, 0.0])
    logits, own = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.5, 4.0]]), torch.tensor([0, 0])
    told, weights = torch.tensor([[0.5], [2.0]]), advgan.AdvGanWeights(gan=2.0, hinge=3.0, length=3.0)
    wanted = (2.0 + -2.0) / 2 + 2 * (0.25 + 1.0) / 2 + 3 * 1.0  # the second leads by 4, of which 2 are enough
    assert float(advgan.generator_loss(change, told, logits, own, weights)) == pytest.approx(wanted)
    assert float(advgan.ChangeGenerator(0.05)(torch.rand(2, 3, 16, 16)).detach().abs().max()) <= 0.05


def test_the_substitutes_set_grows_along_the_sign_of_its_jacobian() -> None:
    weight = torch.randn(3, 12)

    def linear(pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1) @ weight.T

    pictures, labels = torch.full((2, 3, 2, 2), 0.5), torch.tensor([2, 0])
    made = substitute.augmented(linear, pictures, labels, 0.1)
    assert torch.allclose(made, 0.5 + 0.1 * weight[labels].sign().reshape(2, 3, 2, 2))
    shares = linear(pictures).softmax(1)
    slope = (shares - F.one_hot(labels, 3)) @ weight  # of the cross-entropy
    assert torch.allclose(substitute.fgsm(linear, pictures, labels, 0.2), 0.5 + 0.2 * slope.sign().reshape(2, 3, 2, 2))


def test_input_diversity_shrinks_and_pads_and_the_change_stays_within_eps(subject: Subject) -> None:
    pictures = torch.rand(2, 3, 40, 40) * 0.5 + 0.5
    made = diverse.resized_and_padded(pictures, torch.Generator().manual_seed(1))
    rows = torch.nonzero(made[0, 0].amax(1))[:, 0]
    side = len(rows)
    assert made.shape == pictures.shape
    assert 36 <= side < 40
    first = int(rows[0])
    left = int(torch.nonzero(made[0, 0].amax(0))[0, 0])
    small = F.interpolate(pictures, size=(side, side), mode="nearest")
    assert torch.equal(made[:, :, first : first + side, left : left + side], small)
    changed = diverse.diverse_fgsm(subject, Scale(4))
    difference = np.abs(changed.after.astype(int) - changed.before)
    assert 0 < difference.max() <= 16


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in (*WORN, *SLOW)])
def test_every_attack_leaves_pictures_and_a_cell_that_is_not_made_again(
    name: str, subject: Subject, tmp_path: Path
) -> None:
    cell = attack_cell(subject, name, TINY, tmp_path / "work", keep=tmp_path / "kept")
    before, after, success = attacked_pictures(subject, name, tmp_path / "work")
    assert before.shape == after.shape == (len(success), SIZE, SIZE, 3)
    assert cell["success"]["count"] == int(success.sum())
    assert cell["success"]["n"] == len(success) <= 4
    written = next((tmp_path / "work").rglob("*.npz")).stat().st_mtime_ns
    assert attack_cell(subject, name, TINY, tmp_path / "work") == cell
    assert next((tmp_path / "work").rglob("*.npz")).stat().st_mtime_ns == written
    if ATTACKS[name].kind == "physical":
        picture, crafted = crafted_attack(next((tmp_path / "kept").iterdir()))
        assert picture.is_file()
        assert crafted.kind == name
        assert crafted.size is not None
        assert 0 < crafted.size <= 1


def test_the_toolboxs_attacks_are_known_to_it_and_glasses_swarm_without_gradients(subject: Subject) -> None:
    from taintwatch_calibration.craft.digital import attack_names

    assert {title for title, _, _ in ART_SETTINGS.values()} <= set(attack_names())
    made = swarm_glasses(subject, Scale(2, 0.5))
    changed = (made.before != made.after).any(axis=(0, 3))
    assert 0.02 < changed.mean() < 0.5
    assert made.more["queries_per_picture"] == 25 * 21
    assert (subject.labels_of(made.after) == 1).all()  # magenta glasses
