#   docker build -t acs-token-broker .                  the image for production: a static binary and trust anchors
#   docker build -t acs-token-broker:dev --target dev . the same with the emulator of Entra and ACS, which gives tokens to
#                                                       anyone; docker-compose.yml builds it
#   docker build --build-arg BUILD=guided …             the image for production as it is released: guided by a profile, which
#                                                       takes three times as long to build and saves a quarter of each request
#
# For amd64 and arm64, each built on a machine of its kind (.github/workflows/release.yml). Nothing is compiled for another
# machine than the one that builds: emulated, it would take an hour.
#
# Bases are pinned by version. To pin them by content too, append the digest, here or by --build-arg:
#   docker buildx imagetools inspect docker.io/library/rust:1.95.0-bookworm
#   --build-arg RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm@sha256:…
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot
# Which stage the binary for production comes from: build, or guided.
ARG BUILD=build

# The manifests of the workspace with empty sources: they change when a dependency does, not when the broker does.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /manifests
COPY Cargo.toml Cargo.lock README.md ./
COPY crates ./crates
RUN find crates -name '*.rs' -delete \
    && for crate in crates/*; do touch "$crate/src/lib.rs"; done \
    && mkdir -p benches src/bin/acs-token-broker \
    && touch benches/refusals.rs src/lib.rs \
    && echo 'fn main() {}' >src/bin/acs-token-broker/main.rs

# Static, with musl: the final image then needs no library, and none that could be old.
FROM ${RUST_IMAGE} AS tools
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends musl-tools \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$(uname -m)-unknown-linux-musl"
# aws-lc is C.
ENV TARGET_CC=musl-gcc
WORKDIR /build

FROM tools AS dependencies
# The dependencies by themselves, so that a change of the broker does not build them again.
COPY --from=manifests /manifests ./
RUN cargo build --release --locked --package acs-token-broker --target "$(uname -m)-unknown-linux-musl" --no-default-features
COPY crates ./crates
COPY src ./src
# Cargo goes by times, and those of a checkout may be older than the build above.
RUN find crates src -name '*.rs' -exec touch {} +

FROM dependencies AS build-dev
# The playground has its pages.
COPY docs ./docs
ARG VERSION
ARG COMMIT
RUN ACS_TOKEN_BROKER_VERSION="${VERSION}" ACS_TOKEN_BROKER_COMMIT="${COMMIT}" \
        cargo build --release --locked --package acs-token-broker --target "$(uname -m)-unknown-linux-musl" \
    && mv "target/$(uname -m)-unknown-linux-musl/release/acs-token-broker" /acs-token-broker

FROM dependencies AS build
ARG VERSION
ARG COMMIT
RUN ACS_TOKEN_BROKER_VERSION="${VERSION}" ACS_TOKEN_BROKER_COMMIT="${COMMIT}" \
        cargo build --release --locked --package acs-token-broker --target "$(uname -m)-unknown-linux-musl" --no-default-features \
    && mv "target/$(uname -m)-unknown-linux-musl/release/acs-token-broker" /acs-token-broker

FROM tools AS guided
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nghttp2-client python3 wrk \
    && rm -rf /var/lib/apt/lists/* \
    && rustup component add llvm-tools
COPY Cargo.toml Cargo.lock README.md ./
COPY crates ./crates
COPY src ./src
COPY docs ./docs
COPY benches ./benches
COPY deploy/guided-build.sh ./deploy/
COPY deploy/observability/assignments.toml ./deploy/observability/
ARG VERSION
ARG COMMIT
RUN ACS_TOKEN_BROKER_VERSION="${VERSION}" ACS_TOKEN_BROKER_COMMIT="${COMMIT}" TARGET="$(uname -m)-unknown-linux-musl" \
        deploy/guided-build.sh /acs-token-broker --no-default-features

FROM ${BUILD} AS binary
# No image for production with the emulator in it: neither its command nor the path that all its controls are under.
RUN if /acs-token-broker dev --help || grep --quiet --text /_emulator/ /acs-token-broker; then \
        echo 'the emulator is in the binary' >&2; exit 1; fi

# What both have. The user is distroless' nonroot, by number, since Kubernetes can only tell that a number is not root.
FROM ${RUNTIME_IMAGE} AS runtime
USER 65532:65532
# mimalloc would take its first 16 MB in huge pages, used or not.
ENV MIMALLOC_ALLOW_THP=0
# Relative paths of settings that come from the environment alone start here: assignments.toml, for one.
WORKDIR /etc/acs-token-broker
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/acs-token-broker"]
# Docker asks it; Kubernetes has probes of its own. It finds management.listen where the broker does.
HEALTHCHECK --interval=10s --timeout=6s --start-period=15s --retries=3 \
    CMD ["/usr/local/bin/acs-token-broker", "healthcheck"]
LABEL org.opencontainers.image.title="acs-token-broker" \
      org.opencontainers.image.description="Exchanges Microsoft Entra ID access tokens for Azure Communication Services access tokens" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

FROM runtime AS dev
COPY --from=build-dev /acs-token-broker /usr/local/bin/acs-token-broker
CMD ["dev"]

# The last one is what is built without --target.
FROM runtime AS production
# A container's own addresses; who may reach them is said outside. (The linter takes "TOKEN" in the names for a secret.)
# hadolint ignore=DL3064
ENV ACS_TOKEN_BROKER__SERVER__LISTEN=0.0.0.0:8080 \
    ACS_TOKEN_BROKER__MANAGEMENT__LISTEN=0.0.0.0:8081
# Of these `docker run -P` publishes what callers need, and nothing else.
EXPOSE 8080
COPY --from=binary /acs-token-broker /usr/local/bin/acs-token-broker
CMD ["serve"]
# After the binary: buildah takes a label from its cache though the argument in it has changed, but not behind a new layer.
ARG VERSION
ARG COMMIT
ARG SOURCE=https://github.com/contoso/acs-token-broker
LABEL org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}#readme" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
