"""`report.html`: one file that shows what a training reached, how, and how to do it again.

Self-contained: styles, script, pictures and video are inside; nothing is fetched. Made from plain arrays and
dicts.
"""

from neural.report.contents import CameraPlot, Curve, Report, View, curves_from_history
from neural.report.page import render, write

__all__ = ["CameraPlot", "Curve", "Report", "View", "curves_from_history", "render", "write"]
