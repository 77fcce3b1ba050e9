"""Pictures of our own rendering, in which a network sees what a single clip does not show it.

Dead leaves: shapes of all sizes that cover one another, each with a colour and a texture of its own. Their edges,
contrasts and sizes are spread as those of photographs are (Lee, Mumford and Huang 2001, Occlusion models for natural
images), so activations reach the ranges that footage of many scenes would show.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LEAVES = 120  # enough to cover the picture
SMALLEST, LARGEST = 0.03, 0.5  # radii, of the picture's side; their density falls with the square
CHROMA = 35.0  # standard deviation of a colour from its grey: most of the world is not gaudy


def dead_leaves(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """`count` pictures (N, side, side, 3) BGR; the same seed gives the same pictures."""
    return np.stack([_picture(side, np.random.default_rng([seed, number])) for number in range(count)])


def _picture(side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """One leaf over the other, then light, haze, focus and grain of a camera."""
    u = random.uniform(0, 1, LEAVES)  # inverse of the distribution function of r^-2 between the two radii
    radii = side / (1 / LARGEST + u * (1 / SMALLEST - 1 / LARGEST))
    palette = random.uniform(10, 245, (random.integers(4, 16), 1)) + random.normal(0, CHROMA, (1, 3))
    palette = palette + random.normal(0, CHROMA, palette.shape)
    picture = np.broadcast_to(palette[0], (side, side, 3)).astype(np.float32)
    for radius in radii:
        mask = np.zeros((side, side), np.uint8)
        _draw(mask, random.uniform(0, side, 2), float(radius), random)
        leaf = _leaf(side, palette[random.integers(len(palette))], float(radius), random)
        picture = np.where(mask[..., None] > 0, leaf, picture)
    ys, xs = np.mgrid[0:side, 0:side] / side - 0.5
    angle = random.uniform(0, 2 * np.pi)
    light = 1 + random.uniform(0, 0.6) * (np.cos(angle) * xs + np.sin(angle) * ys)
    picture = picture * light[..., None].astype(np.float32)
    contrast, level = random.uniform(0.4, 1.1), random.uniform(60, 180)
    picture = level + contrast * (picture - picture.mean())
    if (blur := random.uniform(0, 1.8)) > 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    noise = random.normal(0, random.uniform(0, 6), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _draw(mask: NDArray[np.uint8], centre: NDArray[np.float64], radius: float, random: np.random.Generator) -> None:
    """An ellipse, a polygon or a bar."""
    kind, angle = random.integers(3), float(random.uniform(0, 360))
    x, y = (round(float(v)) for v in centre)
    if kind == 0:
        axes = (max(1, round(radius)), max(1, round(radius * random.uniform(0.3, 1))))
        cv2.ellipse(mask, (x, y), axes, angle, 0, 360, 1, cv2.FILLED)
        return
    if kind == 1:
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 8)))
        corners = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        w, h = radius, radius * random.uniform(0.1, 0.5)
        turned = np.deg2rad(angle)
        rotation = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
        corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) @ rotation
    cv2.fillPoly(mask, [np.round(corners + centre).astype(np.int32)], 1)


def _leaf(side: int, colour: NDArray[np.float64], radius: float, random: np.random.Generator) -> NDArray[np.float32]:
    """A plain, blotched or striped surface (side, side, 3)."""
    shade = np.float32(colour + random.normal(0, 20, 3))
    kind = random.integers(4)
    if kind < 2 or radius < 4:
        return np.broadcast_to(shade, (side, side, 3))
    depth = float(random.uniform(10, 80))
    if kind == 2:
        cells = int(random.integers(4, max(5, side // 3)))
        coarse = random.normal(0, depth / 2, (cells, cells, 3 if random.uniform() < 0.3 else 1)).astype(np.float32)
        blotches = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, -1)
        return shade + blotches
    ys, xs = np.mgrid[0:side, 0:side]
    angle, period = random.uniform(0, np.pi), random.uniform(2.5, max(3, radius))
    wave = np.sin(2 * np.pi / period * (np.cos(angle) * xs + np.sin(angle) * ys))
    return shade + np.float32(depth) * (np.sign(wave) if random.uniform() < 0.5 else wave)[..., None].astype(np.float32)
