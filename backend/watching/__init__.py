"""What `pam-studio watch` writes while a video plays: captions, subtitles, masks, an annotated video."""

from backend.watching.play import OBJECT, play, writers

__all__ = ["OBJECT", "play", "writers"]
