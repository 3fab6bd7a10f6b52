FROM python:3.11-slim
ARG TORCH_INDEX_URL=
# Letters for the pictures of data sets whose words are Chinese.
RUN apt-get update && apt-get install -y --no-install-recommends fonts-wqy-microhei && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY scripts scripts
COPY backend backend
COPY model model
RUN PIP_NO_CACHE_DIR=1 python scripts/setup.py --only-backend
RUN useradd --uid 1000 pam && install -d -o pam -m 700 /data
USER pam
VOLUME /data
ENV PAM_STUDIO_HOST=0.0.0.0 PAM_STUDIO_DATA_DIR=/data
EXPOSE 9090
HEALTHCHECK --interval=10s --start-period=60s \
    CMD ["/app/.venv/bin/python", "-c", "import socket; socket.create_connection(('127.0.0.1', 9090), 5)"]
ENTRYPOINT ["/app/.venv/bin/pam-studio"]
CMD ["serve"]
