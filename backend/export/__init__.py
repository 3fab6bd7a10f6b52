"""Corrections as training data: `export` writes a folder that trainers read as it is."""

from backend.export.exporter import export
from backend.export.report import ExportReport

__all__ = ["ExportReport", "export"]
