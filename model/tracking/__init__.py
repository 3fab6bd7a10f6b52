"""Objects followed through a video: prompted on any frame, forward or backward, mended where they went astray.

    for found in follow(pam, frames, {0: {"cup": Prompt(box=...)}, 40: {"cup": Prompt(points=...)}}):
        found.objects["cup"].mask

Memory does not grow with the video, and whoever had enough closes the generator. Models with a real mask decoder follow
by SAM 2's memory (model/video.py); those that stand on `model.proposals` by what moves and looks alike (motion.py).
"""

from model.tracking.masks import FrameMasks, TrackedMask
from model.tracking.tracker import Tracker, follow

__all__ = ["FrameMasks", "TrackedMask", "Tracker", "follow"]
