"""A category that must come from a list: what the model may choose from, and which option each label stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from backend.labeling_config import LabelingConfig, WordField
from model.errors import LabelError
from model.vocabulary import check_labels


def choices(config: LabelingConfig, pointed_with: str | None) -> tuple[str, ...] | None:
    """The labels of which the category is one, or None where the annotator may write any.

    pointed_with: the label of the tool that was used. Where it is the annotator's choice of the category itself, it is
    the only one: the other words are then about it.
    """
    word = config.words.get("category")
    if word is None or not word.options:
        return None
    known = labels(word)
    mine = annotators_choice(config, pointed_with)
    if word.kind == "label" and mine is not None:
        known = {label: option for label, option in known.items() if option == (mine,)} or known
    return tuple(known) or None


def annotators_choice(config: LabelingConfig, pointed_with: str | None) -> str | None:
    """The mask's label if the annotator chose it by pointing with it; the only label of a tool is no choice."""
    if pointed_with not in config.output.labels:
        return None
    chosen = any(pointed_with in tool.labels and len(tool.labels) > 1 for tool in config.prompts)
    return pointed_with if chosen else None


@lru_cache(maxsize=64)
def labels(word: WordField) -> Mapping[str, tuple[str, ...]]:
    """Label to option of a closed list, in its order; the leaves alone of a taxonomy.

    A label is what the annotator reads; where several options are called the same, as much of each one's path stands
    in front of it as tells them apart, and of those that nothing tells apart the first is meant. An option that no
    model can say, such as one of many hundred characters, is left out.
    """
    inner = {option[:depth] for option in word.options for depth in range(1, len(option))}
    left = [(option, name) for option, name in zip(word.options, word.shown, strict=True) if option not in inner]
    named: dict[str, tuple[str, ...]] = {}
    for depth in range(max((len(option) for option, _ in left), default=0)):
        names = [" ".join((*option[-1 - depth : -1], name)) for option, name in left]
        count = Counter([*names, *named])
        named |= {name: option for name, (option, _) in zip(names, left, strict=True) if count[name] == 1}
        left = [pair for name, pair in zip(names, left, strict=True) if count[name] > 1]
    for option, name in left:
        named.setdefault(" ".join((*option[:-1], name)), option)
    place = {option: i for i, option in enumerate(word.options)}
    return MappingProxyType(
        {name: named[name] for name in sorted(filter(can_say, named), key=lambda n: place[named[n]])}
    )


def can_say(label: str) -> bool:
    """Whether a model can be asked about a category of this name."""
    try:
        check_labels([label])
    except LabelError:
        return False
    return True
