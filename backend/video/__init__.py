"""Videos in Label Studio: a box that is drawn once becomes a track through the video, and a masklet in the data set.

keyframes    what Label Studio calls a track: boxes on some frames, straight lines between them
grid         its frame numbers, and which frame of the file each of them shows
video_files  the files, fetched once and kept in bounded space
anchors      what an annotator drew or mended since the last answer
following    the model at work on them, in the background, a frame at a time
suggest      request in, answer out
"""
