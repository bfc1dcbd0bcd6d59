# The bearerd image. One stage builds a virtual environment from the locks; the last one is the stripped base image with that
# environment.
#
#   docker build --tag bearerd .
#   docker build --build-arg PYTHON_IMAGE=registry.example/python:3.13-slim --tag bearerd .
#
# PYTHON_IMAGE is any Debian-like image with a python3 of 3.11 or newer and venv. Every stage starts from the same one, so that the
# environment finds the interpreter that it was made with.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# The address of a package mirror is used in the build and is not stored in the image.
ARG PIP_INDEX_URL
WORKDIR /src
# pip has an environment of its own and installs into the other one, which therefore never contains pip.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/bearerd
COPY requirements.lock requirements-build.lock ./
RUN /tools/bin/pip install --no-cache-dir --quiet --require-hashes --requirement requirements-build.lock \
 && /tools/bin/pip --python /opt/bearerd/bin/python install --no-cache-dir --quiet --require-hashes --requirement requirements.lock
COPY . .
RUN /tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /wheel . \
 && /tools/bin/pip --python /opt/bearerd/bin/python install --no-cache-dir --quiet --no-deps --no-index /wheel/*.whl

# The base image without what a daemon does not need: the installer, its caches, documentation, and setuid and setgid bits.
FROM ${PYTHON_IMAGE} AS system
RUN rm -rf /usr/bin/pip* /usr/lib/python3/dist-packages/pip* /usr/lib/python3*/ensurepip \
      /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
      /usr/share/python-wheels /usr/share/doc /usr/share/man /var/cache/apt/* /var/lib/apt/lists/* /root/.cache \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && groupadd --gid 10001 bearerd \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/bearerd --no-create-home --shell /usr/sbin/nologin bearerd
COPY --from=build /opt/bearerd /opt/bearerd

# Copied into an empty image, so that what was removed is in no layer, and neither the environment variables nor the mode of the
# root folder depend on the base image.
FROM scratch
COPY --from=system / /
ARG VERSION=unknown
LABEL org.opencontainers.image.title="bearerd" \
      org.opencontainers.image.description="One daemon that owns a ChatGPT login, so that many agents can share it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

# Closed by default. Agents are in other containers, so the relay listens on every address; it requires a client key there. The
# admin listener has no key, so it stays on the container's loopback, which is enough for the health check. To open it to
# monitoring, set BEARERD_ADMIN_LISTEN=0.0.0.0:8788 on a network that only monitoring can reach.
ENV PATH=/opt/bearerd/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BEARERD_LISTEN=0.0.0.0:8787 \
    BEARERD_ADMIN_LISTEN=127.0.0.1:8788 \
    BEARERD_STORE=/var/lib/bearerd/auth.json

# The only folder that is written to: the credential, its lock and the client keys. The user and group numbers are fixed, so that
# the owner of a volume is known beforehand and Kubernetes can see that it is not root.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/bearerd
VOLUME /var/lib/bearerd
WORKDIR /var/lib/bearerd
USER 10001:10001
EXPOSE 8787 8788
STOPSIGNAL SIGTERM

# Liveness, not readiness: a daemon that waits for its login is healthy, and a restart would not help.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
  CMD ["/opt/bearerd/bin/python", "-I", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8788, timeout=3); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["bearerd"]
CMD ["serve"]
