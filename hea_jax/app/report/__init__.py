"""The report of a run: sections contributed by the stages, rendered as one self-contained HTML file."""

from hea_jax.app.report.sections import ReportFigure, ReportSection, Table

__all__ = ["ReportFigure", "ReportSection", "Table"]
