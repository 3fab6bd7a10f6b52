"""Videos in Label Studio: a box that is drawn once becomes a track through the video, and a masklet in the data set.

keyframes    what Label Studio calls a track: boxes on some frames, straight lines between them
grid         its frame numbers, and which frame of the file each of them shows
video_files  the files, fetched once and kept in bounded space
anchors      what an annotator drew or mended since the last answer
plan         the frames that are still to be followed, and from which prompts
tracking     the model at work on them, in the background, a frame at a time
work, board, track_works  how far that is, for whoever asks
events       what happens to an object, told from its masks
timeline, parts  how the screen shows that, and what of it is the annotator's by now
words        what is said of an object as a whole
appearance   the frame by which its like are found
suggest      request in, answer out
outcome      what became of it
"""
