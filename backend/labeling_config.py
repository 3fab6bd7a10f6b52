"""The labelling config, read: which tags an annotator points with, and where masks and words go."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from backend.errors import ConfigError

MAX_CONFIG_BYTES = 2 << 20
"""Longest labelling config; a taxonomy of 20 000 entries stays under it."""

MAX_TAXONOMY_DEPTH = 100

_PROMPT_TYPES = ("keypointlabels", "rectanglelabels", "brushlabels", "keypoint", "rectangle", "brush")
_OUTPUT_TYPES = ("brushlabels", "brush", "polygonlabels", "polygon", "rectanglelabels", "rectangle")
_RECTANGLE = "videorectangle"
_FIELD_TYPES: Mapping[str, tuple[str, ...]] = {
    "category": ("textarea", "choices", "taxonomy"),
    "explanation": ("textarea",),
    "caption": ("textarea",),
}
_FIELD_NAMES: tuple[Mapping[str, str], ...] = (
    {"category": "category", "explanation": "explanation", "caption": "caption"},
    {
        "category": ".*(category|class|label).*",
        "explanation": ".*(explan|definition).*",
        "caption": ".*(caption|descri).*",
    },
)
"""What the tag of a field is called: exactly, or else so that it sounds right."""


@dataclass(frozen=True)
class Control:
    """A tag that draws regions.

    type:   as in Label Studio results: the tag's name in lower case, such as "keypointlabels" or "brush".
    labels: what its regions may be called, empty for a tag without labels of its own, such as Brush.
    """

    name: str
    type: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class WordField:
    """Where one of the words of a region goes.

    kind:    "textarea", "choices", "taxonomy", or "label" when the category is the label of the mask itself.
    options: what may be said, empty for "textarea"; a path from the root for "taxonomy", else of length one.
    shown:   what each option is called on the screen; it differs from the option where the tag gives it an alias.
    presets: texts that stand in a "textarea" before anybody has written: its value and its placeholder.
    """

    name: str
    kind: Literal["textarea", "choices", "taxonomy", "label"]
    options: tuple[tuple[str, ...], ...] = ()
    shown: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()


@dataclass(frozen=True)
class VideoTags:
    """What a config about videos has besides.

    framerate: of the Video tag, as it is written: a number of frames each second, or `$key` of the task's data.
    segments:  the TimelineLabels tag, or None.
    """

    framerate: str
    segments: Control | None


@dataclass(frozen=True)
class LabelingConfig:
    """What PAM Studio needs to know of a project's labelling config.

    image:    name of the Image or Video tag (`to_name` of every result).
    data_key: key of the task's data that holds the image's or video's address.
    prompts:  the controls whose drawings are prompts.
    output:   the control that masks are answered with; of videos the VideoRectangle, with the labels of its Labels tag.
    words:    field ("category", "explanation", "caption") to the tag that holds it; a field without a tag is left out.
    video:    where it is about videos.
    """

    image: str
    data_key: str
    prompts: tuple[Control, ...]
    output: Control
    words: Mapping[str, WordField]
    video: VideoTags | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hex digits that another config does not have: what was worked out with this one is known by it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Tag:
    """One element; Label Studio reads names of tags and attributes in any case, so they are kept in lower case."""

    type: str
    attributes: Mapping[str, str]
    element: Element

    @property
    def name(self) -> str:
        return self.attributes.get("name", "")

    def is_on(self, attribute: str) -> bool:
        return self.attributes.get(attribute, "").lower() == "true"

    def points_to(self, name: str) -> bool:
        return name in (part.strip() for part in self.attributes.get("toname", "").split(","))

    def children(self, type: str) -> list[_Tag]:
        return [child for child in map(_tag, self.element) if child.type == type]


@lru_cache(maxsize=64)
def parse(xml: str) -> LabelingConfig:
    """What PAM Studio needs to know of a labelling config.

    Raises ConfigError for XML that cannot be read, and for a config that lacks the image, a smart tool to point with,
    or a tag to answer masks with: it names the tag and shows a line to add. Tags for words are optional. A config with
    a Video and no Image is about videos; one with both is about the images.
    """
    tags = _read(xml)
    if not any(tag.type == "image" for tag in tags) and any(tag.type == "video" for tag in tags):
        return _parse_video(tags)
    image = _find_image(tags)
    controls = [tag for tag in tags if tag.name and tag.points_to(image.name)]
    prompts = _find_prompts(controls, image.name)
    output = _find_output(controls, image.name)
    return LabelingConfig(
        image=image.name,
        data_key=image.attributes["value"].removeprefix("$"),
        prompts=tuple(map(_control, prompts)),
        output=_control(output),
        words=_find_words(controls, output),
    )


def _parse_video(tags: list[_Tag]) -> LabelingConfig:
    """The first video that a VideoRectangle points to, else the first video."""
    videos = [tag for tag in tags if tag.type == "video"]
    rectangles = [tag for tag in tags if tag.type == _RECTANGLE and tag.name]
    video = next((video for video in videos if any(tag.points_to(video.name) for tag in rectangles)), videos[0])
    key = _data_key(video, "video")
    controls = [tag for tag in tags if tag.name and tag.points_to(video.name)]
    boxes = [tag for tag in controls if tag.type == _RECTANGLE]
    if not any(tag.is_on("smart") for tag in boxes):
        remedy = (
            f'add smart="true" to <{boxes[0].element.tag} name="{boxes[0].name}">'
            if boxes
            else f'add <VideoRectangle name="box" toName="{video.name}" smart="true"/>'
        )
        raise ConfigError(
            f'the labelling config has no smart tool for video "{video.name}": {remedy}', code="no_prompt_tag"
        )
    box = next(tag for tag in boxes if tag.is_on("smart"))
    labels = next((tag for tag in controls if tag.type == "labels"), None)
    segments = next((tag for tag in controls if tag.type == "timelinelabels"), None)
    return LabelingConfig(
        image=video.name,
        data_key=key,
        prompts=(),
        output=Control(box.name, box.type, () if labels is None else tuple(name for name, _ in _labels(labels))),
        words=_find_words(controls, labels or box),
        video=VideoTags(video.attributes.get("framerate", ""), None if segments is None else _control(segments)),
    )


def _read(xml: str) -> list[_Tag]:
    if not xml.strip():
        raise ConfigError("the labelling config is empty: set one under Settings > Labeling Interface")
    size = len(xml.encode("utf-8", "surrogatepass"))
    if size > MAX_CONFIG_BYTES:
        raise ConfigError(f"the labelling config has {size} bytes, more than the {MAX_CONFIG_BYTES} that are read")
    try:
        root = ElementTree.fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as error:
        raise ConfigError("the labelling config declares a DTD or entities: take them out") from error
    except (ParseError, UnicodeError, ValueError) as error:
        raise ConfigError(f"the labelling config is not well-formed XML: {error}") from error
    return [_tag(element) for element in root.iter() if isinstance(element.tag, str)]


def _tag(element: Element) -> _Tag:
    attributes = {key.lower(): value.strip() for key, value in element.attrib.items()}
    return _Tag(str(element.tag).lower(), attributes, element)


def _find_image(tags: list[_Tag]) -> _Tag:
    """The first image that a smart tool points to, else the first image."""
    images = [tag for tag in tags if tag.type == "image"]
    if not images:
        others = sorted({tag.element.tag for tag in tags if tag.attributes.get("value", "").startswith("$")})
        shows = f" (it shows {', '.join(others)})" if others else ""
        raise ConfigError(
            f'the labelling config has no Image tag{shows}: add <Image name="image" value="$image"/>',
            code="no_image_tag",
        )
    smart = [tag for tag in tags if tag.type in _PROMPT_TYPES and tag.is_on("smart")]
    image = next((image for image in images if any(tag.points_to(image.name) for tag in smart)), images[0])
    _data_key(image, "image")
    return image


def _data_key(tag: _Tag, what: str) -> str:
    """The key of the task's data that holds what an Image or Video tag shows."""
    value = tag.attributes.get("value", "")
    if not tag.name or not value.startswith("$") or not value[1:]:
        name = what.capitalize()
        raise ConfigError(
            f"the {name} tag needs a name and, as its value, the key of the task's data that holds the {what}'s "
            f'address; it has name="{tag.name}" value="{value}": make it <{name} name="{what}" value="${what}"/>',
            code=f"no_{what}_tag",
        )
    return value[1:]


def _find_prompts(controls: list[_Tag], image: str) -> list[_Tag]:
    tools = [tag for tag in controls if tag.type in _PROMPT_TYPES]
    prompts = [tag for tag in tools if tag.is_on("smart")]
    if not prompts:
        remedy = (
            f'add smart="true" to <{tools[0].element.tag} name="{tools[0].name}">'
            if tools
            else f'add <KeyPointLabels name="point" toName="{image}" smart="true" smartOnly="true">'
            '<Label value="Object"/></KeyPointLabels>'
        )
        raise ConfigError(f'the labelling config has no smart tool for image "{image}": {remedy}', code="no_prompt_tag")
    return prompts


def _find_output(controls: list[_Tag], image: str) -> _Tag:
    """Of the best type there is, the tag that is not itself a smart tool, if one is not."""

    def rank(tag: _Tag) -> tuple[bool, int, bool]:
        prompt_only = tag.type.startswith("rectangle") and tag.is_on("smartonly")
        return prompt_only, _OUTPUT_TYPES.index(tag.type), tag.is_on("smart")

    outputs = sorted((tag for tag in controls if tag.type in _OUTPUT_TYPES), key=rank)
    if not outputs:
        raise ConfigError(
            f'the labelling config has no tag to answer masks with for image "{image}": add '
            f'<BrushLabels name="region" toName="{image}"><Label value="Object"/></BrushLabels>',
            code="no_mask_tag",
        )
    return outputs[0]


def _find_words(controls: list[_Tag], output: _Tag) -> dict[str, WordField]:
    fields = [tag for tag in controls if tag.is_on("perregion")]
    words: dict[str, WordField] = {}
    for names in _FIELD_NAMES:  # exact names of all fields first, so that no field takes another's tag
        for field in [field for field in _FIELD_TYPES if field not in words]:
            found = next((tag for tag in fields if _is_called(tag, names[field], _FIELD_TYPES[field])), None)
            if found is not None:
                fields.remove(found)
                words[field] = _word_field(found)
    if "category" not in words and len(_labels(output)) > 1:
        words["category"] = _closed(output, "label", (((label,), shown) for label, shown in _labels(output)))
    return {field: words[field] for field in _FIELD_TYPES if field in words}


def _is_called(tag: _Tag, name: str, types: tuple[str, ...]) -> bool:
    return tag.type in types and re.fullmatch(name, tag.name.lower()) is not None


def _word_field(tag: _Tag) -> WordField:
    if tag.type == "choices":
        return _closed(tag, "choices", ((path[-1:], shown) for path, shown in _paths(tag)))
    if tag.type == "taxonomy":
        return _closed(tag, "taxonomy", _paths(tag, leaves_only=tag.is_on("leafsonly")))
    presets = (tag.attributes.get("value", ""), tag.attributes.get("placeholder", ""))
    return WordField(tag.name, "textarea", presets=tuple(text for text in presets if text and not text.startswith("$")))


def _closed(
    tag: _Tag, kind: Literal["choices", "taxonomy", "label"], options: Iterable[tuple[tuple[str, ...], str]]
) -> WordField:
    written, shown = zip(*options, strict=True) if (options := list(options)) else ((), ())
    return WordField(tag.name, kind, written, shown)


def _paths(tag: _Tag, leaves_only: bool = False) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path from the root and name on the screen of each Choice under `tag`, in the order of the config."""
    stack: list[tuple[_Tag, tuple[str, ...]]] = [(tag, ())]
    while stack:
        node, path = stack.pop()
        if len(path) > MAX_TAXONOMY_DEPTH:
            raise ConfigError(f'tag "{tag.name}" nests its choices deeper than the {MAX_TAXONOMY_DEPTH} that are read')
        below = node.children("choice")
        if path and not (below and leaves_only):
            yield path, node.attributes.get("value", "")
        stack.extend((child, (*path, _written(child))) for child in reversed(below))


def _labels(tag: _Tag) -> list[tuple[str, str]]:
    """Each Label of `tag`: as it is written into results, and as it is shown."""
    shown = ((label, label.attributes.get("value", "")) for label in tag.children("label"))
    return [(_written(label), value) for label, value in shown if value]


def _written(option: _Tag) -> str:
    return option.attributes.get("alias") or option.attributes.get("value", "")


def _control(tag: _Tag) -> Control:
    return Control(tag.name, tag.type, tuple(label for label, _ in _labels(tag)))
