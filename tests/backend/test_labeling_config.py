"""A labelling config is read as Label Studio reads it; what it lacks is named with the line to add."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import ConfigError
from backend.labeling_config import MAX_CONFIG_BYTES, Control, LabelingConfig, VideoTags, WordField, parse

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
CLOSED = Path(__file__).parents[2] / "label_config" / "image_closed.xml"

IMAGE = '<Image name="image" value="$image"/>'
POINT = '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>'
BOX = POINT.replace("KeyPoint", "Rectangle").replace('"point"', '"box"').replace(">", ' smartOnly="true">', 1)
BRUSH = '<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels>'
POLYGON = '<PolygonLabels name="outline" toName="image"><Label value="Object"/></PolygonLabels>'
RECTANGLE = '<RectangleLabels name="frame" toName="image"><Label value="Object"/></RectangleLabels>'


def view(*tags: str) -> str:
    return f"<View>{''.join(tags)}</View>"


def text_area(name: str) -> str:
    return f'<TextArea name="{name}" toName="image" perRegion="true"/>'


@pytest.mark.parametrize("capture", ["setup", "predict_1_click", "predict_box", "predict_on_task_open"])
def test_the_config_that_label_studio_sent_is_read_whole(capture):
    request = json.loads((CAPTURES / f"{capture}.json").read_text())
    config = parse(request.get("schema") or request["label_config"])
    assert config == LabelingConfig(
        image="image",
        data_key="image",
        prompts=(
            Control("point", "keypointlabels", ("Object",)),
            Control("box", "rectanglelabels", ("Object",)),
        ),
        output=Control("region", "brushlabels", ("Object",)),
        words={name: WordField(name, "textarea") for name in ("category", "explanation", "caption")},
    )


@pytest.mark.parametrize(
    ("tags", "output"),
    [
        ([BRUSH, POLYGON, RECTANGLE], "region"),
        ([RECTANGLE, POLYGON, BRUSH], "region"),
        ([RECTANGLE, POLYGON], "outline"),
        ([BOX, RECTANGLE], "frame"),
        ([BOX], "box"),
        (['<Brush name="b" toName="image"/>', POLYGON], "b"),
        (['<Polygon name="p" toName="image"/>', RECTANGLE], "p"),
        ([BRUSH.replace('"region"', '"hint" smart="true"'), BRUSH], "region"),
    ],
)
def test_masks_go_to_the_tag_that_keeps_most_of_them(tags, output):
    assert parse(view(IMAGE, POINT, *tags)).output.name == output


def test_a_tag_that_is_not_smart_is_no_prompt_and_every_smart_kind_is():
    tools = [f'<{tag} name="{tag}" toName="image" smart="true"/>' for tag in ("Brush", "KeyPoint", "Rectangle")]
    prompts = parse(view(IMAGE, POINT, BRUSH, RECTANGLE, *tools)).prompts
    assert [(prompt.name, prompt.type) for prompt in prompts] == [
        ("point", "keypointlabels"), ("Brush", "brush"), ("KeyPoint", "keypoint"), ("Rectangle", "rectangle"),
    ]  # fmt: skip


def test_tag_and_attribute_names_are_read_in_any_case():
    config = parse(
        '<view><image NAME="i" VALUE="$photo"/><keypointlabels name="p" toname="i" SMART="True"><label value="A"/>'
        '</keypointlabels><brushLabels name="r" toName="i"><label value="A"/></brushLabels></view>'
    )
    assert (config.image, config.data_key, config.prompts[0].name, config.output.name) == ("i", "photo", "p", "r")


def test_controls_of_another_image_are_left_alone():
    """Two images side by side: prompt, output and words must all belong to the one that is pointed at."""
    second = POINT.replace("image", "right") + BRUSH.replace("image", "right").replace("region", "mask")
    images = '<Image name="image" value="$left"/><Image name="right" value="$right"/>'
    config = parse(view(images, BRUSH, text_area("category"), second))
    assert (config.image, config.data_key, config.output.name, config.words) == ("right", "right", "mask", {})


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["category", "explanation", "caption"], ["category", "explanation", "caption"]),
        (["Class", "Definition", "Description"], ["Class", "Definition", "Description"]),
        (["class_description", "category"], ["category", None, "class_description"]),
        (["label_definition", "my_category"], ["label_definition", None, None]),
        (["comment"], [None, None, None]),
    ],
)
def test_words_go_to_the_text_areas_that_are_named_after_them(names, words):
    """An exact name wins over one that sounds right, and no tag holds two fields."""
    found = parse(view(IMAGE, POINT, BRUSH, *map(text_area, names))).words
    assert [found[field].name if field in found else None for field in ("category", "explanation", "caption")] == words


def test_a_field_of_the_whole_image_is_no_field_of_a_region():
    whole = text_area("category").replace(' perRegion="true"', "")
    assert parse(view(IMAGE, POINT, BRUSH, whole)).words == {}


def test_a_closed_list_gives_its_options_as_they_are_written_into_results():
    choices = (
        '<Choices name="category" toName="image" perRegion="true"><Choice value="Coin" alias="c1"/>'
        '<Choice value="Cat"/></Choices>'
    )
    assert parse(view(IMAGE, POINT, BRUSH, choices)).words["category"] == WordField(
        "category", "choices", (("c1",), ("Cat",)), ("Coin", "Cat")
    )


def test_a_taxonomy_gives_its_paths():
    taxonomy = (
        '<Taxonomy name="kind" toName="image" perRegion="true" {}><Choice value="Animal"><Choice value="Cat"/>'
        '<Choice value="Dog"/></Choice><Choice value="Coin"/></Taxonomy>'
    ).replace("kind", "class")
    every = parse(view(IMAGE, POINT, BRUSH, taxonomy.format(""))).words["category"]
    assert every.options == (("Animal",), ("Animal", "Cat"), ("Animal", "Dog"), ("Coin",))
    leaves = parse(view(IMAGE, POINT, BRUSH, taxonomy.format('leafsOnly="true"'))).words["category"]
    assert leaves.options == (("Animal", "Cat"), ("Animal", "Dog"), ("Coin",))
    assert leaves.shown == ("Cat", "Dog", "Coin")


def test_several_labels_of_the_mask_are_the_category_where_nothing_else_is():
    labels = BRUSH.replace('<Label value="Object"/>', '<Label value="Coin"/><Label value="Cat" alias="felis"/>')
    word = parse(view(IMAGE, POINT, labels)).words["category"]
    assert word == WordField("region", "label", (("Coin",), ("felis",)), ("Coin", "Cat"))
    assert parse(view(IMAGE, POINT, labels, text_area("category"))).words["category"].kind == "textarea"


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("", "empty"),
        ("<View>", "not well-formed XML"),
        ("<View>&nbsp;</View>", "not well-formed XML"),
        ("plain text", "not well-formed XML"),
        ("<View>\x00</View>", "not well-formed XML"),
        ("<View>\ud800</View>", "not well-formed XML"),
        (view(POINT, BRUSH), 'add <Image name="image" value="\\$image"/>'),
        (view('<Text name="text" value="$text"/>'), r"no Image tag \(it shows Text\): add <Image"),
        (view('<Video name="video" value="$video"/>'), 'add <VideoRectangle name="box" toName="video" smart="true"/>'),
        (view('<Video name="video" value="$v"/>', '<VideoRectangle name="b" toName="video"/>'), 'add smart="true" to'),
        (
            view('<Video name="video"/>', '<VideoRectangle name="b" toName="video" smart="true"/>'),
            "no_video_tag|Video tag",
        ),
        (view('<Image name="image"/>', POINT, BRUSH), 'name="image" value="": make it <Image'),
        (view('<Image name="image" value="a.jpg"/>', POINT, BRUSH), 'value="a.jpg": make it <Image'),
        (view('<Image value="$image"/>', POINT, BRUSH), 'name="" value="\\$image": make it <Image'),
        (view(IMAGE, BRUSH), 'add smart="true" to <BrushLabels name="region">'),
        (view(IMAGE), '"image": add <KeyPointLabels name="point" toName="image" smart="true"'),
        (view(IMAGE, POINT), 'add <BrushLabels name="region" toName="image">'),
        (view(IMAGE, POINT, BRUSH.replace("image", "other")), 'add <BrushLabels name="region" toName="image">'),
        (f"<View>{' ' * MAX_CONFIG_BYTES}</View>", "more than the"),
    ],
)
def test_a_config_that_cannot_be_used_says_what_to_add(xml, says):
    with pytest.raises(ConfigError, match=says):
        parse(xml)


def test_following_the_messages_one_by_one_ends_with_a_config_that_works():
    """The remedies are pasted as they are printed; a message that sends one the wrong way would loop."""
    config = "<View></View>"
    for _ in range(3):
        with pytest.raises(ConfigError) as told:
            parse(config)
        config = config.replace("</View>", told.value.message.partition("add ")[2] + "</View>")
    assert parse(config).output.name == "region"


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE v [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE v SYSTEM "http://127.0.0.1:1/x.dtd">',
    ],
)
def test_entities_are_refused_before_they_expand(head):
    with pytest.raises(ConfigError, match="DTD or entities"):
        parse(head + view(IMAGE, POINT, BRUSH))


def test_a_taxonomy_too_deep_is_refused_before_its_paths_fill_the_memory():
    """Paths grow with the square of the depth: 2 MB of XML could ask for gigabytes."""
    taxonomy = '<Choice value="a">' * 20_000 + "</Choice>" * 20_000
    tag = f'<Taxonomy name="category" toName="image" perRegion="true">{taxonomy}</Taxonomy>'
    with pytest.raises(ConfigError, match="deeper than"):
        parse(view(IMAGE, POINT, BRUSH, tag))


PIECES = st.sampled_from([IMAGE, POINT, BOX, BRUSH, "<View>", "</View>", "&", "<!--"])


@given(st.text(max_size=200) | st.lists(PIECES).map("".join))
def test_whatever_is_sent_as_a_config_ends_in_a_config_or_a_config_error(xml):
    try:
        assert isinstance(parse(xml), LabelingConfig)
    except ConfigError:
        pass


def test_a_config_about_videos():
    """Boxes, their labels, words, rate and timeline are found; a config with an image as well is about the image."""
    labels = '<Labels name="label" toName="v"><Label value="Cat"/><Label value="Dog" alias="hound"/></Labels>'
    box = '<VideoRectangle name="box" toName="v" smart="true"/>'
    timeline = '<TimelineLabels name="part" toName="v"><Label value="Runs"/></TimelineLabels>'
    video = '<Video name="v" value="$clip" frameRate="$fps"/>'
    config = parse(view(labels, video, box, timeline))
    assert (config.image, config.data_key, config.prompts) == ("v", "clip", ())
    assert config.output == Control("box", "videorectangle", ("Cat", "hound"))
    assert config.video == VideoTags("$fps", Control("part", "timelinelabels", ("Runs",)))
    assert config.words["category"].options == (("Cat",), ("hound",))
    assert parse(view(labels, video, box, IMAGE, POINT, BRUSH)).video is None


def test_a_fingerprint_tells_configs_apart():
    """It is the same for the same config however often it is read, and another one for another option."""
    config = parse(CLOSED.read_text())
    assert config.fingerprint == parse(CLOSED.read_text()).fingerprint
    other = CLOSED.read_text().replace('value="coin"', 'value="button"')
    assert parse(other).fingerprint != config.fingerprint
