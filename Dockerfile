# The daemon in a container, by default for CPUs (docs/containers.md):
#   docker build --tag taintwatch .
#   docker build --tag taintwatch:gpu --build-arg BASE=nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 \
#       --build-arg LOCK=service.txt .
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
SHELL ["/bin/sh", "-eu", "-c"]
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY locks locks
# The packages first: they change more seldom than the code. Nothing comes in whose hash is not in the lock.
ARG LOCK=service-cpu.txt
RUN python3 -m venv /opt/taintwatch \
    && /opt/taintwatch/bin/pip install --no-cache-dir --require-hashes --requirement "locks/${LOCK}"
COPY pyproject.toml README.md LICENSE ./
COPY calibration calibration
COPY daemon daemon
COPY models models
COPY systemd systemd
RUN /opt/taintwatch/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheel . \
    && /opt/taintwatch/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/taintwatch --shell /usr/sbin/nologin taintwatch \
    && install --directory --owner taintwatch --group taintwatch --mode 0700 /var/lib/taintwatch
COPY --from=build /opt/taintwatch /opt/taintwatch
ENV PATH=/opt/taintwatch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=1 \
    STATE_DIRECTORY=/var/lib/taintwatch
USER 10001:10001
WORKDIR /var/lib/taintwatch
VOLUME /var/lib/taintwatch
# Needs [metrics] enabled = true. The first start learns general pictures, which takes a minute or so.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9108/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["taintwatch"]
CMD ["run", "--config", "/etc/taintwatch/taintwatch.toml", "--log-json", "--quiet"]
