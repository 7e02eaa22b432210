# The development image: the broker with the emulator of Entra and ACS in it, which gives tokens to anyone.
# docker-compose.yml builds it as the target "dev".
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# The dependencies by themselves, so that a change of the broker does not build them again.
FROM ${RUST_IMAGE} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock README.md ./
RUN mkdir -p src/bin/acs-token-broker \
    && touch src/lib.rs \
    && echo 'fn main() {}' >src/bin/acs-token-broker/main.rs \
    && cargo build --release --locked
COPY src ./src
# Cargo goes by times, and those of a checkout may be older than the build above.
RUN find src -name '*.rs' -exec touch {} + && cargo build --release --locked

FROM ${RUNTIME_IMAGE} AS dev
COPY --from=build /build/target/release/acs-token-broker /usr/local/bin/acs-token-broker
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/acs-token-broker"]
CMD ["dev"]
