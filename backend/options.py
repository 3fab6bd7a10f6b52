"""Settings as options of a command: the same table for the environment, the command line and the README."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from backend.settings import Settings

OF_A_MODEL = (
    *("model", "device", "dtype", "threads"),
    *("language", "caption", "max_new_tokens", "temperature", "top_p", "max_image_pixels"),
)
"""Settings of commands that load a model and have it describe pictures."""


def _kind(annotation: Any) -> str:
    """What an option takes, as `--help` shows it: its choices, where it has some."""
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    named = {int: "INTEGER", float: "NUMBER", Path: "PATH"}
    return next((named[kind] for kind in (annotation, *get_args(annotation)) if kind in named), "TEXT")


def _shown(default: Any) -> str | bool:
    return False if default is None or isinstance(default, SecretStr) else str(default)


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each of these settings (all of them when none is named), help and all.

    The command takes a Settings first; an option that is not given leaves it to the environment and the default.
    Secrets get no option: a command line is no place for them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        fields = {
            name: field
            for name, field in Settings.model_fields.items()
            if (not names or name in names) and "SecretStr" not in str(field.annotation)
        }
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    str | None,
                    typer.Option(
                        help=field.description, metavar=_kind(field.annotation), show_default=_shown(field.default)
                    ),
                ],
            )
            for name, field in fields.items()
        ]

        def run(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in fields}
            command(read_settings({k: v for k, v in chosen.items() if v is not None}), **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + options
        )
        return run

    return decorate


def read_settings(options: dict[str, str]) -> Settings:
    """Settings from options, environment and defaults; exits with one line for each that is wrong."""
    try:
        return Settings.model_validate(options)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            print(": ".join(["pam-studio", *map(str, problem["loc"]), _said(problem)]), file=sys.stderr)
        raise typer.Exit(2) from None


def _said(problem: ErrorDetails) -> str:
    """What is wrong, in one sentence: that of our own check, or pydantic's."""
    own = problem.get("ctx", {}).get("error")
    return str(own) if isinstance(own, ValueError) else problem["msg"]
