"""Drawn pictures for products and categories that have none of their own.

A picture follows from its two slugs alone: words choose the motif and the family of colour, a digest of
the product's slug chooses shade, label and small details. So the same product always looks the same, two
products beside each other look different, and nothing has to be stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

__all__ = ["draw", "motif_of"]


class Paint(Struct, frozen=True):
    """The colours of one picture and its two free numbers (0 to 255)."""

    ground: str
    shade: str
    main: str
    dark: str
    light: str
    label: str
    first: int
    second: int


@lru_cache(maxsize=4096)
def draw(category: str, slug: str) -> bytes:
    """The SVG picture of a product or category; any pair of strings gives one."""
    motif = motif_of(category, slug)
    hue, shapes = MOTIFS[motif]
    paint = _mix(hue, slug or category)
    glow = f'<circle cx="200" cy="188" r="150" fill="{paint.light}" opacity=".55"/>'
    ground = f'<rect width="400" height="400" fill="{paint.ground}"/>{glow}'
    shadow = f'<ellipse cx="200" cy="331" rx="{96 if motif not in WIDE else 128}" ry="13" fill="{paint.shade}"/>'
    body = shapes(paint)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400">{ground}{shadow}{body}</svg>'.encode()


def motif_of(category: str, slug: str) -> str:
    """The motif whose words come first: those of the product count before those of its category."""
    for text in (slug, category):
        words = set(re.findall(r"[a-z]+", text.lower()))
        stems = words | {ending.sub(new, word) for word in words for ending, new in PLURALS}
        for motif, names in WORDS:
            if stems & names:
                return motif
    return "box"


def _mix(hue: int, seed: str) -> Paint:
    digest = blake2b(seed.encode(), digest_size=6).digest()
    hue = (hue + digest[0] % 37 - 18) % 360
    other = (hue + (150, 195, 32, 330, 48)[digest[1] % 5]) % 360
    sunny = SUNNY[0] <= hue <= SUNNY[1]  # yellows turn to mud when they are as dark as other hues
    depth = (56 if sunny else 46) + digest[2] % 10
    strength = 72 if sunny else 50
    return Paint(
        ground=f"hsl({hue} 42% 91%)",
        shade=f"hsl({hue} 26% 80%)",
        main=f"hsl({hue} {strength}% {depth}%)",
        dark=f"hsl({hue} {strength - 4}% {depth - 17}%)",
        light=f"hsl({hue} 55% 96%)",
        label=f"hsl({other} 66% 62%)",
        first=digest[3],
        second=digest[4],
    )


def _label(p: Paint, x: int, y: int, width: int, height: int) -> str:
    """A label with one of five decorations."""
    middle, centre = x + width / 2, y + height / 2
    size = min(width, height) / 2
    marks = (
        f'<circle cx="{middle}" cy="{centre}" r="{size * 0.55}" fill="{p.label}"/>',
        f'<path d="M{x} {centre}h{width}" stroke="{p.label}" stroke-width="{height * 0.34}"/>',
        f'<path d="M{middle} {centre - size * 0.6}l{size * 0.6} {size * 0.6}-{size * 0.6} {size * 0.6}-{size * 0.6}-{size * 0.6}z" fill="{p.label}"/>',
        f'<path d="M{x} {y + height}V{centre}q{width / 4} {-size * 0.7} {width / 2} 0t{width / 2} 0V{y + height}z" fill="{p.label}"/>',
        f'<path d="M{middle} {centre + size * 0.6}c{-size * 1.3} {-size * 0.8} 0 {-size * 1.7} 0 {-size * 0.8}'
        f'c0 {-size * 0.9} {size * 1.3} 0 0 {size * 0.8}z" fill="{p.label}"/>',
    )
    ground = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{p.light}"/>'
    return ground + marks[p.first % 5]


def _bottle(p: Paint) -> str:
    return (
        f'<rect x="180" y="72" width="40" height="30" rx="7" fill="{p.dark}"/>'
        f'<path d="M184 100h32v38c0 26 32 32 32 66v108q0 20-20 20h-56q-20 0-20-20V204c0-34 32-40 32-66z" fill="{p.main}"/>'
        + _label(p, 152, 218, 96, 70)
    )


def _wine(p: Paint) -> str:
    return (
        f'<path d="M184 62h32v84c0 20 26 32 26 62v108q0 16-16 16h-52q-16 0-16-16V208c0-30 26-42 26-62z" fill="{p.dark}"/>'
        f'<rect x="184" y="62" width="32" height="44" rx="4" fill="{p.label}"/>' + _label(p, 158, 222, 84, 72)
    )


def _can(p: Paint) -> str:
    return (
        f'<path d="M146 106h108l10 16v192l-10 18H146l-10-18V122z" fill="{p.main}"/>'
        f'<ellipse cx="200" cy="108" rx="55" ry="10" fill="{p.shade}"/>'
        f'<ellipse cx="200" cy="106" rx="40" ry="6" fill="{p.light}"/>' + _label(p, 136, 168, 128, 96)
    )


def _tin(p: Paint) -> str:
    return (
        f'<rect x="118" y="142" width="164" height="190" rx="12" fill="{p.shade}"/>'
        f'<rect x="118" y="166" width="164" height="142" fill="{p.main}"/>'
        f'<ellipse cx="200" cy="144" rx="82" ry="18" fill="{p.light}"/><ellipse cx="200" cy="144" rx="64" ry="12" fill="{p.shade}"/>'
        + _label(p, 146, 190, 108, 94)
    )


def _jar(p: Paint) -> str:
    return (
        f'<rect x="138" y="92" width="124" height="36" rx="9" fill="{p.dark}"/>'
        f'<path d="M148 128h104q28 14 28 44v134q0 26-26 26H146q-26 0-26-26V172q0-30 28-44z" fill="{p.main}"/>'
        f'<path d="M138 176v104" stroke="{p.light}" stroke-width="9" stroke-linecap="round" opacity=".6"/>' + _label(p, 158, 190, 92, 88)
    )


def _box(p: Paint) -> str:
    return (
        f'<path d="M118 96h142v236H118z" fill="{p.main}"/><path d="M260 96l34 20v200l-34 16z" fill="{p.dark}"/>'
        f'<path d="M118 96l30-16h142l4 36-34-20z" fill="{p.shade}"/>' + _label(p, 138, 150, 102, 118)
    )


def _carton(p: Paint) -> str:
    return (
        f'<path d="M136 150h128v182H136z" fill="{p.light}"/><path d="M136 150l24-52h80l24 52z" fill="{p.main}"/>'
        f'<rect x="160" y="76" width="80" height="26" rx="4" fill="{p.dark}"/>'
        f'<path d="M136 252q32-28 64 0t64 0v80H136z" fill="{p.main}"/><circle cx="200" cy="204" r="27" fill="{p.label}"/>'
    )


def _bag(p: Paint) -> str:
    teeth = "".join(f"l12 {-10 if n % 2 else 10}" for n in range(12))
    return (
        f'<path d="M128 92{teeth}l10 42q-14 80 0 156l-6 34q-76 12-152 0l-6-34q14-76 0-156z" fill="{p.main}"/>'
        f'<path d="M134 128h136M134 296h136" stroke="{p.dark}" stroke-width="5" opacity=".5"/>' + _label(p, 146, 166, 112, 98)
    )


def _tub(p: Paint) -> str:
    return (
        f'<path d="M116 164h168l-20 152q-2 16-18 16h-92q-16 0-18-16z" fill="{p.main}"/>'
        f'<rect x="104" y="138" width="192" height="32" rx="12" fill="{p.dark}"/>' + _label(p, 144, 200, 112, 90)
    )


def _apple(p: Paint) -> str:
    return (
        f'<path d="M200 148c-34-34-104-18-104 60 0 66 46 124 76 124 14 0 18-8 28-8s14 8 28 8c30 0 76-58 76-124 0-78-70-94-104-60z" fill="{p.main}"/>'
        f'<path d="M200 150c-2-28 4-46 18-62" fill="none" stroke="#5b4330" stroke-width="9" stroke-linecap="round"/>'
        f'<path d="M214 116c14-30 44-36 66-30-6 26-34 42-66 30z" fill="hsl(112 38% 44%)"/>'
        f'<path d="M124 206q2-34 30-42" fill="none" stroke="{p.light}" stroke-width="11" stroke-linecap="round" opacity=".75"/>'
    )


def _citrus(p: Paint) -> str:
    rays = "".join(f'<path d="M200 222V144" transform="rotate({n * 45} 200 222)"/>' for n in range(8))
    return (
        f'<circle cx="200" cy="222" r="110" fill="{p.main}"/><circle cx="200" cy="222" r="96" fill="{p.light}"/>'
        f'<circle cx="200" cy="222" r="86" fill="{p.main}"/><g stroke="{p.light}" stroke-width="8">{rays}</g>'
    )


def _banana(p: Paint) -> str:
    return (
        f'<path d="M104 118c8 96 76 172 192 168 12 0 14 20 0 26-136 46-236-62-226-188 2-14 32-22 34-6z" fill="{p.main}"/>'
        f'<path d="M92 128c6 108 84 186 200 176" fill="none" stroke="{p.dark}" stroke-width="6" opacity=".45"/>'
        '<path d="M72 122l-2-30 28-6 6 32z" fill="#6a5128"/>'
    )


def _berries(p: Paint) -> str:
    spots = ((152, 268), (248, 268), (200, 272), (176, 212), (226, 212), (200, 156))
    balls = "".join(f'<circle cx="{x}" cy="{y}" r="48" fill="{p.main if n % 2 else p.dark}"/>' for n, (x, y) in enumerate(spots))
    shine = "".join(f'<circle cx="{x - 15}" cy="{y - 16}" r="9" fill="{p.light}" opacity=".7"/>' for x, y in spots)
    return balls + shine + '<path d="M200 116c-4-26 6-40 26-46M204 106c-26-26-54-22-66-12 16 22 40 24 66 12z" fill="hsl(118 36% 42%)"/>'


def _leaf(p: Paint) -> str:
    return (
        f'<path d="M200 326C92 300 82 176 200 74c118 102 108 226 0 252z" fill="{p.main}"/>'
        f'<path d="M200 338V122M200 178l-42-30M200 178l42-30M200 226l-58-38M200 226l58-38M200 274l-48-32M200 274l48-32" '
        f'fill="none" stroke="{p.light}" stroke-width="7" stroke-linecap="round" opacity=".8"/>'
    )


def _carrot(p: Paint) -> str:
    return (
        f'<g transform="rotate(24 200 200)"><path d="M150 150q50-30 100 0l-38 178q-12 18-24 0z" fill="{p.main}"/>'
        f'<path d="M166 196h36M196 236h34M182 276h24" stroke="{p.dark}" stroke-width="6" stroke-linecap="round" opacity=".5"/>'
        '<g fill="hsl(122 38% 40%)"><path d="M198 142c-52-24-54-64-42-84 26 16 42 48 42 84z"/>'
        '<path d="M202 142c52-24 54-64 42-84-26 16-42 48-42 84z"/><path d="M200 140c-18-40-12-72 0-88 12 16 18 48 0 88z"/></g></g>'
    )


def _bread(p: Paint) -> str:
    return (
        f'<path d="M92 232c-28-78 40-122 108-122s136 44 108 122v74q0 26-26 26H118q-26 0-26-26z" fill="{p.dark}"/>'
        f'<path d="M110 236c-24-66 30-106 90-106s114 40 90 106v62q0 16-16 16H126q-16 0-16-16z" fill="{p.main}"/>'
        f'<path d="M152 168l22 44M192 158l22 44M232 164l20 40" stroke="{p.light}" stroke-width="10" stroke-linecap="round" opacity=".8"/>'
    )


def _cake(p: Paint) -> str:
    return (
        f'<rect x="98" y="212" width="204" height="120" rx="14" fill="{p.main}"/>'
        f'<path d="M98 220q0-44 40-44h124q40 0 40 44v18q-18 26-34 0-17 26-34 0-17 26-34 0-17 26-34 0-17 26-34 0-16 26-34 0z" fill="{p.light}"/>'
        f'<path d="M98 288h204" stroke="{p.dark}" stroke-width="9" opacity=".55"/>'
        f'<rect x="192" y="118" width="16" height="58" rx="5" fill="{p.label}"/><path d="M200 84c18 16 12 32 0 32s-18-16 0-32z" fill="#f2a93b"/>'
    )


def _cookie(p: Paint) -> str:
    dots = ((158, 178), (226, 160), (256, 222), (196, 226), (150, 258), (222, 286), (128, 212), (266, 272))
    chips = "".join(f'<circle cx="{x}" cy="{y}" r="{11 + (p.first + n) % 6}" fill="{p.dark}"/>' for n, (x, y) in enumerate(dots))
    return f'<circle cx="200" cy="222" r="110" fill="{p.main}"/><circle cx="200" cy="216" r="102" fill="{p.light}" opacity=".22"/>{chips}'


def _fish(p: Paint) -> str:
    return (
        f'<path d="M70 220c56-88 150-96 214-22l52-42q14 64 0 128l-52-42c-64 74-158 66-214-22z" fill="{p.main}"/>'
        f'<path d="M128 220c36-14 36-42 22-62M176 158q30 62 0 124M222 166q22 54 0 108" fill="none" stroke="{p.light}" stroke-width="7" opacity=".7"/>'
        f'<circle cx="116" cy="204" r="10" fill="{p.light}"/><circle cx="115" cy="205" r="5" fill="#222"/>'
    )


def _meat(p: Paint) -> str:
    return (
        f'<path d="M92 246c-16-78 56-148 142-132 74 14 92 82 66 136-26 52-66 30-106 52-42 24-88 14-102-56z" fill="{p.light}"/>'
        f'<path d="M112 244c-10-62 46-116 116-104 60 10 72 62 54 102-22 46-58 26-98 46-32 18-64 8-72-44z" fill="{p.main}"/>'
        f'<path d="M150 250c4-44 34-66 74-62" fill="none" stroke="{p.light}" stroke-width="9" stroke-linecap="round" opacity=".7"/>'
        f'<circle cx="246" cy="204" r="20" fill="{p.light}"/><circle cx="246" cy="204" r="10" fill="{p.shade}"/>'
    )


def _cheese(p: Paint) -> str:
    return (
        f'<path d="M78 238l204-112q44 32 44 112z" fill="{p.light}"/><path d="M78 238h248v86q0 8-8 8H86q-8 0-8-8z" fill="{p.main}"/>'
        f'<circle cx="134" cy="286" r="20" fill="{p.dark}" opacity=".55"/><circle cx="220" cy="272" r="14" fill="{p.dark}" opacity=".55"/>'
        f'<circle cx="278" cy="300" r="17" fill="{p.dark}" opacity=".55"/><ellipse cx="246" cy="200" rx="26" ry="14" fill="{p.shade}"/>'
    )


def _eggs(p: Paint) -> str:
    egg = "q44-110 88 0c0 44-88 44-88 0z"
    return (
        f'<path d="M92 236{egg}" fill="{p.light}" stroke="{p.shade}" stroke-width="4"/><path d="M220 236{egg}" fill="{p.light}" stroke="{p.shade}" stroke-width="4"/>'
        f'<path d="M156 232{egg}" fill="#fff" stroke="{p.shade}" stroke-width="4"/>'
        f'<path d="M76 252h248l-18 68q-4 12-16 12H110q-12 0-16-12z" fill="{p.main}"/><path d="M92 286h216" stroke="{p.dark}" stroke-width="6" opacity=".4"/>'
    )


def _flower(p: Paint) -> str:
    petals = "".join(f'<ellipse cx="200" cy="104" rx="28" ry="42" transform="rotate({n * 60} 200 152)" fill="{p.main}"/>' for n in range(6))
    return (
        '<path d="M200 180v150M200 262c-44 4-64-22-68-44 38-4 62 14 68 44zM200 286c40 0 58-22 62-42-34-4-56 12-62 42z" '
        f'fill="hsl(128 36% 44%)" stroke="hsl(128 36% 36%)" stroke-width="7"/>{petals}<circle cx="200" cy="152" r="29" fill="{p.label}"/>'
    )


def _cup(p: Paint) -> str:
    return (
        f'<path d="M288 196h14q38 0 38 38t-38 38h-18" fill="none" stroke="{p.dark}" stroke-width="17"/>'
        f'<path d="M104 166h190v92q0 74-74 74h-42q-74 0-74-74z" fill="{p.main}"/><ellipse cx="199" cy="168" rx="95" ry="18" fill="{p.dark}"/>'
        f'<path d="M166 132c-16-20 16-30 0-52M208 132c-16-20 16-30 0-52M248 132c-16-20 16-30 0-52" fill="none" stroke="{p.shade}" stroke-width="9" stroke-linecap="round"/>'
    )


def _ice(p: Paint) -> str:
    return (
        f'<path d="M140 214h120l-60 130z" fill="hsl(32 58% 62%)"/><path d="M158 252l66 46M242 252l-66 46" stroke="hsl(28 50% 48%)" stroke-width="5"/>'
        f'<circle cx="162" cy="176" r="48" fill="{p.main}"/><circle cx="238" cy="176" r="48" fill="{p.light}"/><circle cx="200" cy="122" r="50" fill="{p.label}"/>'
        f'<path d="M132 206q68 30 136 0v14H132z" fill="{p.dark}" opacity=".35"/>'
    )


def _pizza(p: Paint) -> str:
    return (
        '<path d="M84 128q116-56 232 0l-104 204q-12 14-24 0z" fill="hsl(42 78% 66%)"/>'
        f'<path d="M74 134q126-66 252 0l-16 28q-110-52-220 0z" fill="hsl(28 54% 50%)"/>'
        f'<circle cx="168" cy="188" r="21" fill="{p.main}"/><circle cx="234" cy="194" r="21" fill="{p.main}"/><circle cx="200" cy="254" r="19" fill="{p.main}"/>'
        '<path d="M196 164l14-8M204 222l16 6M178 226l-10 12" stroke="hsl(120 40% 38%)" stroke-width="9" stroke-linecap="round"/>'
    )


def _pump(p: Paint) -> str:
    return (
        f'<path d="M192 92h48q18 0 18 18" fill="none" stroke="{p.dark}" stroke-width="15" stroke-linecap="round"/>'
        f'<rect x="190" y="92" width="20" height="42" fill="{p.dark}"/><rect x="166" y="130" width="68" height="28" rx="7" fill="{p.dark}"/>'
        f'<rect x="134" y="156" width="132" height="176" rx="26" fill="{p.main}"/>' + _label(p, 154, 198, 92, 92)
    )


def _tube(p: Paint) -> str:
    return (
        f'<path d="M138 80h124l-18 190h-88z" fill="{p.main}"/><path d="M138 80h124v16H138z" fill="{p.dark}"/>'
        f'<path d="M156 270h88v44q0 18-18 18h-52q-18 0-18-18z" fill="{p.light}" stroke="{p.shade}" stroke-width="3"/>' + _label(p, 164, 128, 72, 104)
    )


def _pills(p: Paint) -> str:
    return (
        f'<rect x="146" y="86" width="108" height="52" rx="10" fill="{p.light}" stroke="{p.shade}" stroke-width="4"/>'
        f'<path d="M166 96v34M186 96v34M206 96v34M226 96v34" stroke="{p.shade}" stroke-width="5"/>'
        f'<rect x="132" y="136" width="136" height="196" rx="24" fill="{p.main}"/>' + _label(p, 132, 186, 136, 98)
        + f'<path d="M200 210v50M175 235h50" stroke="{p.dark}" stroke-width="13" stroke-linecap="round"/>'
    )


def _lipstick(p: Paint) -> str:
    return (
        f'<path d="M172 182V112q0-20 56-40v110z" fill="hsl({p.second % 40 - 20} 62% 55%)"/><rect x="164" y="180" width="72" height="56" fill="{p.light}" stroke="{p.shade}" stroke-width="3"/>'
        f'<rect x="152" y="234" width="96" height="98" rx="8" fill="{p.dark}"/><path d="M170 254v60" stroke="{p.light}" stroke-width="7" stroke-linecap="round" opacity=".5"/>'
    )


def _roll(p: Paint) -> str:
    return (
        f'<path d="M132 128h136v204H132z" fill="#fff"/><path d="M268 150h40v168q-20 16-40 6z" fill="{p.light}" stroke="{p.shade}" stroke-width="3"/>'
        f'<ellipse cx="200" cy="128" rx="68" ry="26" fill="{p.light}" stroke="{p.shade}" stroke-width="4"/><ellipse cx="200" cy="128" rx="25" ry="10" fill="{p.main}"/>'
        f'<path d="M132 306q68 40 136 0v12q0 14-68 14t-68-14z" fill="{p.shade}"/><path d="M132 196q68 24 136 0M132 252q68 24 136 0" fill="none" stroke="{p.label}" stroke-width="6" opacity=".8"/>'
    )


def _card(p: Paint) -> str:
    return (
        f'<g transform="rotate(-7 200 210)"><rect x="116" y="98" width="168" height="228" rx="10" fill="#fff" stroke="{p.shade}" stroke-width="4"/>'
        f'<rect x="134" y="116" width="132" height="126" rx="6" fill="{p.main}"/>'
        f'<path d="M200 220c-56-34-44-78-16-78 10 0 16 10 16 10s6-10 16-10c28 0 40 44-16 78z" fill="{p.light}"/>'
        f'<path d="M150 268h100M166 292h68" stroke="{p.shade}" stroke-width="9" stroke-linecap="round"/></g>'
    )


def _book(p: Paint) -> str:
    return (
        f'<path d="M126 86h132q20 0 20 20v206H146q-20 0-20-20z" fill="{p.main}"/><path d="M126 300q0-22 22-22h130v54H148q-22 0-22-20z" fill="#fff" stroke="{p.shade}" stroke-width="4"/>'
        f'<path d="M150 86v192" stroke="{p.dark}" stroke-width="9" opacity=".6"/>' + _label(p, 174, 126, 82, 74)
    )


def _pencils(p: Paint) -> str:
    pens = "".join(
        f'<g transform="rotate({turn} 200 300)"><rect x="{x}" y="112" width="24" height="150" fill="{fill}"/><path d="M{x} 112l12-36 12 36z" fill="hsl(36 60% 78%)"/><path d="M{x + 8} 88l4-12 4 12z" fill="#333"/></g>'
        for turn, x, fill in ((-13, 158, p.label), (2, 188, p.dark), (14, 218, p.main))
    )
    return f'{pens}<path d="M130 208h140l-14 110q-2 14-16 14h-80q-14 0-16-14z" fill="{p.dark}"/><path d="M137 240h126" stroke="{p.light}" stroke-width="10" opacity=".55"/>'


def _toy(p: Paint) -> str:
    return (
        f'<circle cx="138" cy="118" r="32" fill="{p.dark}"/><circle cx="262" cy="118" r="32" fill="{p.dark}"/>'
        f'<ellipse cx="200" cy="284" rx="72" ry="54" fill="{p.main}"/><circle cx="200" cy="174" r="84" fill="{p.main}"/><ellipse cx="200" cy="204" rx="40" ry="32" fill="{p.light}"/>'
        '<circle cx="168" cy="158" r="9" fill="#2b2320"/><circle cx="232" cy="158" r="9" fill="#2b2320"/><ellipse cx="200" cy="192" rx="14" ry="9" fill="#2b2320"/>'
        f'<path d="M200 200v14" stroke="#2b2320" stroke-width="5"/><circle cx="200" cy="286" r="24" fill="{p.label}"/>'
    )


def _gift(p: Paint) -> str:
    return (
        f'<rect x="108" y="184" width="184" height="148" rx="8" fill="{p.main}"/><rect x="96" y="148" width="208" height="48" rx="8" fill="{p.dark}"/>'
        f'<path d="M182 148h36v184h-36z" fill="{p.label}"/>'
        f'<path d="M200 148c-22-64-96-66-84-18 6 20 44 20 84 18zM200 148c22-64 96-66 84-18-6 20-44 20-84 18z" fill="none" stroke="{p.label}" stroke-width="17"/>'
    )


def _paw(p: Paint) -> str:
    return (
        f'<ellipse cx="200" cy="262" rx="70" ry="60" fill="{p.main}"/><ellipse cx="118" cy="206" rx="28" ry="37" fill="{p.main}" transform="rotate(-22 118 206)"/>'
        f'<ellipse cx="168" cy="152" rx="29" ry="40" fill="{p.main}"/><ellipse cx="232" cy="152" rx="29" ry="40" fill="{p.main}"/>'
        f'<ellipse cx="282" cy="206" rx="28" ry="37" fill="{p.main}" transform="rotate(22 282 206)"/><path d="M160 266q40-46 80 0" fill="none" stroke="{p.light}" stroke-width="9" stroke-linecap="round" opacity=".55"/>'
    )


def _candle(p: Paint) -> str:
    return (
        f'<path d="M200 74c32 30 22 62 0 62s-32-32 0-62z" fill="#f5b544"/><path d="M200 132v34" stroke="#3b3029" stroke-width="6"/>'
        f'<rect x="124" y="162" width="152" height="170" rx="16" fill="{p.light}" stroke="{p.shade}" stroke-width="4"/><path d="M128 206h144v108q0 14-14 14H142q-14 0-14-14z" fill="{p.main}"/>'
        + _label(p, 156, 228, 88, 66)
    )


def _pot(p: Paint) -> str:
    return (
        f'<path d="M72 196h48M280 196h48" stroke="{p.dark}" stroke-width="20" stroke-linecap="round"/><path d="M104 176h192v112q0 44-44 44H148q-44 0-44-44z" fill="{p.main}"/>'
        f'<path d="M96 178q0-46 104-46t104 46z" fill="{p.dark}"/><circle cx="200" cy="120" r="17" fill="{p.label}"/><path d="M132 212v66" stroke="{p.light}" stroke-width="10" stroke-linecap="round" opacity=".6"/>'
    )


def _bulb(p: Paint) -> str:
    return (
        f'<path d="M200 76c66 0 104 48 104 100 0 56-50 72-54 104h-100c-4-32-54-48-54-104 0-52 38-100 104-100z" fill="{p.label}" opacity=".9"/>'
        f'<path d="M170 278v-54l-20-34M230 278v-54l20-34M170 224h60" fill="none" stroke="{p.dark}" stroke-width="7"/>'
        f'<path d="M154 282h92v26q0 24-46 24t-46-24z" fill="{p.dark}"/><path d="M154 298h92" stroke="{p.light}" stroke-width="6" opacity=".5"/>'
    )


def _shirt(p: Paint) -> str:
    return (
        f'<path d="M150 96q50 40 100 0l66 40-28 66-34-16v146H146V186l-34 16-28-66z" fill="{p.main}"/>'
        f'<path d="M150 96q50 40 100 0" fill="none" stroke="{p.dark}" stroke-width="11"/>' + _label(p, 168, 196, 64, 58)
    )


def _fuel(p: Paint) -> str:
    return (
        f'<rect x="112" y="86" width="136" height="246" rx="14" fill="{p.main}"/><rect x="134" y="112" width="92" height="66" rx="8" fill="{p.light}"/>'
        f'<path d="M248 176h20q16 0 16 16v72q0 22 20 22t20-22V164l-36-38" fill="none" stroke="{p.dark}" stroke-width="14" stroke-linecap="round" stroke-linejoin="round"/>'
        f'<path d="M180 206c28 34 28 62 0 62s-28-28 0-62z" fill="{p.light}"/>'
    )


def _basket(p: Paint) -> str:
    return (
        f'<path d="M120 186l44-88M280 186l-44-88" stroke="{p.dark}" stroke-width="15" stroke-linecap="round"/>'
        f'<path d="M82 182h236l-22 132q-3 18-22 18H126q-19 0-22-18z" fill="{p.main}"/><path d="M156 218v78M200 218v78M244 218v78" stroke="{p.light}" stroke-width="11" stroke-linecap="round" opacity=".75"/>'
    )


def _search(p: Paint) -> str:
    return (
        f'<circle cx="184" cy="188" r="82" fill="{p.light}" stroke="{p.main}" stroke-width="21"/><path d="M244 250l68 68" stroke="{p.dark}" stroke-width="29" stroke-linecap="round"/>'
        f'<path d="M136 184q4-42 44-48" fill="none" stroke="{p.shade}" stroke-width="12" stroke-linecap="round"/>'
    )


PLURALS = ((re.compile(r"s$"), ""), (re.compile(r"es$"), ""), (re.compile(r"ies$"), "y"))
SUNNY = (22, 72)
WIDE = frozenset({"fish", "cheese", "bread", "eggs", "cake", "basket", "pot", "banana"})

# Each motif with its hue (degrees) and its drawing.
MOTIFS: dict[str, tuple[int, Callable[[Paint], str]]] = {
    "apple": (4, _apple), "bag": (28, _bag), "banana": (47, _banana), "basket": (150, _basket), "berries": (338, _berries), "book": (215, _book),
    "bottle": (196, _bottle), "box": (202, _box), "bread": (32, _bread), "bulb": (50, _bulb), "cake": (345, _cake), "can": (8, _can),
    "candle": (24, _candle), "card": (350, _card), "carrot": (24, _carrot), "carton": (208, _carton), "cheese": (44, _cheese), "citrus": (34, _citrus),
    "cookie": (30, _cookie), "cup": (22, _cup), "eggs": (36, _eggs), "fish": (198, _fish), "flower": (330, _flower), "fuel": (160, _fuel),
    "gift": (352, _gift), "ice": (322, _ice), "jar": (14, _jar), "leaf": (116, _leaf), "lipstick": (334, _lipstick), "meat": (356, _meat),
    "paw": (26, _paw), "pencils": (218, _pencils), "pills": (172, _pills), "pizza": (10, _pizza), "pot": (206, _pot), "pump": (268, _pump),
    "roll": (210, _roll), "search": (150, _search), "shirt": (222, _shirt), "tin": (12, _tin), "toy": (28, _toy), "tub": (186, _tub),
    "tube": (182, _tube), "wine": (345, _wine),
}  # fmt: skip

# Which words choose a motif; the first row that has one wins, so the special stand before the general.
WORDS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (motif, frozenset(words.split()))
    for motif, words in (
        ("search", "nothing found"),
        ("basket", "basket orders empty"),
        ("paw", "pet dog cat bird litter"),
        ("toy", "toy game baby diaper infant doll"),
        ("fuel", "fuel gasoline automotive motor"),
        ("gift", "christmas easter halloween valentine seasonal gift party spring summer fall winter wrap holiday promotional coupon"),
        ("card", "card greeting postal stamp ticket"),
        ("book", "book bookstore magazine newspaper paperback video audio photo dvd film"),
        ("pencils", "stationery school pen pencil paper tape office supplies"),
        ("bulb", "bulb light battery electric electrical elect plumbing hardware"),
        ("candle", "candle air fragrance incense freshener"),
        ("shirt", "apparel sock hosiery panty shirt clothing glove footwear"),
        ("roll", "tissue towel napkin bath toilet foil wrap"),
        ("pot", "kitchen cookware pot pan gadget houseware housewares chef glassware plate utensil tool broom mop storage"),
        ("lipstick", "makeup cosmetics lipstick nail fragrances perfume eye"),
        ("pump", "soap shampoo lotion hand facial hair conditioner skin body wash shaving deodorant sanitizer suncare"),
        ("tube", "toothpaste oral dental hygiene feminine ointment"),
        ("pills", "vitamin analgesic cold flu drug pharmacy antacid medicine aid laxative diet nutrition health sinus allergy drug"),
        ("bottle", "detergent bleach cleaner cleaning household laundry dish softener cleang"),
        ("flower", "floral flower bouquet rose plant bulbs garden orchid arrangement"),
        ("wine", "wine liquor spirit champagne whiskey vodka rum tequila cordial"),
        ("can", "beer ale soda soft drink cola energy sparkling malt"),
        ("cup", "coffee tea cocoa hot espresso cappuccino creamer"),
        ("ice", "ice novelties sherbet sherbt sorbet popsicle cones"),
        ("pizza", "pizza"),
        ("tin", "soup bean can canned shelf stable chili tin stew broth"),
        ("cake", "cake pie pastry dessert doughnut donut muffin sweet cupcake frosting icing brownie"),
        ("cookie", "cookie cracker biscuit wafer"),
        ("bread", "bread bun roll bagel loaf bakery baked tortilla croissant toast dough waffle"),
        ("cheese", "cheese cheddar mozzarella swiss parmesan"),
        ("eggs", "egg"),
        ("carton", "milk juice carton dairy cream refrigerated refrgratd buttermilk orange"),
        ("tub", "yogurt margarine butter dip spread hummus pudding salad deli cottage sour whipped tub prepared sandwich"),
        ("fish", "fish seafood shrimp salmon tuna crab lobster cod tilapia shellfish"),
        ("meat", "meat beef pork steak lamb veal ham bacon sausage turkey chicken poultry lunchmeat frankfurter hotdog rib roast smoked"),
        ("banana", "banana"),
        ("citrus", "citrus lemon lime grapefruit tangerine clementine melon"),
        ("berries", "berry berries strawberry blueberry grape cherry raspberry"),
        ("carrot", "carrot potato onion root squash pepper corn"),
        ("leaf", "leaf lettuce spinach herb cabbage broccoli kale celery greens greenhouse"),
        ("apple", "apple fruit pear peach tomato mango plum avocado pineapple tropical"),
        ("jar", "jam jelly jar peanut honey pickle olive sauce mayonnaise salsa mustard condiment relish spice seasoning dressing syrup"),
        ("bottle", "water oil vinegar bottle drink beverage shortening juices"),
        ("bag", "snack chip popcorn pretzel candy nut rice pasta flour sugar coffee bag frozen frzn cereal dry noodle charcoal chocolate gum"),
        ("leaf", "organic produce vegetables natural"),
        ("box", "box mix baking breakfast dinner pack"),
    )
)
