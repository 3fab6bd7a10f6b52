"""What `/metrics` shows, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)

REQUESTS = Counter("pam_studio_requests", "Requests answered.", ["route", "status"])
REQUEST_SECONDS = Histogram("pam_studio_request_seconds", "From request to answer.", ["route"], buckets=_SECONDS)
MODEL_SECONDS = Histogram("pam_studio_model_seconds", "What the model takes.", ["step"], buckets=_SECONDS)
MODEL_READY = Gauge("pam_studio_model_ready", "1 once the model is loaded.")
MODEL = Info("pam_studio_model", "The model that answers.")
REEMBEDDING = Gauge("pam_studio_memory_reembedding", "Tasks whose memories the new model sees anew.", ["state"])
ENCODED_IMAGES = Counter("pam_studio_encoded_images", "Images asked for, by where they came from.", ["source"])
CACHE_BYTES = Gauge("pam_studio_cache_bytes", "Memory that encoded images take.")
SUGGESTIONS = Counter("pam_studio_suggestions", "Regions suggested.")
JOBS = Gauge("pam_studio_jobs", "Background jobs that are listed.", ["state"])
JOB_PROGRESS = Gauge("pam_studio_job_progress", "How far the background job is that runs, 0..1.", ["kind"])
WEBHOOKS = Counter("pam_studio_webhooks", "Webhooks journalled.", ["action"])
TRACKS = Gauge("pam_studio_tracks", "Objects that are being followed through videos, or wait for it.")
TRACKED_FRAMES = Counter("pam_studio_tracked_frames", "Frames of videos that an object was followed through.")
VIDEO_BYTES = Gauge("pam_studio_video_bytes", "Disk that fetched videos take.")
