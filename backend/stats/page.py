"""The statistics as one page that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backend.stats.plots import category_plot, course_plot, field_plot, iou_plot, model_plot
from backend.stats.rows import tables
from backend.stats.tally import Stats


def page(stats: Stats, made: datetime) -> str:
    """HTML with the tables of `rows.tables`, each with its plots where there is data. made: when, as the page says."""
    holdings, models, course, masks, fields, categories = tables(stats)
    sections = [
        {"table": holdings, "plots": []},
        {"table": models, "plots": [Markup(model_plot(stats))] if models.rows else []},
        {"table": course, "plots": [Markup(course_plot(stats))] if course.rows else []},
        {"table": masks, "plots": [Markup(iou_plot(stats))] if stats.corrected_iou else []},
        {"table": fields, "plots": [Markup(field_plot(stats))] if fields.rows else []},
        {"table": categories, "plots": [Markup(category_plot(stats))] if categories.rows else []},
    ]
    environment = Environment(loader=PackageLoader("backend.stats", "."), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("page.html")
    return template.render(sections=sections, made=f"PAM Studio, {made.astimezone():%Y-%m-%d %H:%M %Z}")
