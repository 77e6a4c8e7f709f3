# The container image: one static binary and the CA certificates.
#
#   docker build -t tidetable .
#
# The bases are arguments, so the image builds without a registry (scripts/image-offline.sh makes
# the first one):
#   RUST_IMAGE     a Rust toolchain on Alpine or Debian; builds a musl binary on either, for the
#                  machine's own architecture
#   RUNTIME_IMAGE  the base of the final image: empty by default
# This file uses no BuildKit syntax: Debian's Docker has the classic builder.
#
# To run it with the host's engine, give the container the group of the socket, since its user is
# not root:
#
#   docker run -d --name tidetable -p 127.0.0.1:8888:8888 -v tidetable-data:/data \
#       -v /var/run/docker.sock:/var/run/docker.sock \
#       --group-add "$(stat -c %g /var/run/docker.sock)" \
#       -v "$PWD/token:/run/secrets/tidetable_token:ro" \
#       -e TIDETABLE_TOKEN_FILE=/run/secrets/tidetable_token tidetable
#
# The server listens on every address of the container. It refuses to do so without a token file
# (readable by uid 65532) or --allow-anonymous. compose.yaml describes the same container.

ARG RUST_IMAGE=rust:1.95-alpine
ARG RUNTIME_IMAGE=scratch

FROM ${RUST_IMAGE} AS build
# The label by which leftovers of this stage can be found and removed.
LABEL tidetable.build=true
WORKDIR /src
COPY . .
# The target is musl: a static glibc resolves names through libraries that are not in the image.
RUN set -eu; \
    host="$(rustc -vV | sed -n 's/^host: //p')"; \
    target="${host%%-*}-unknown-linux-musl"; \
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then rustup target add "$target"; fi; \
    if [ "$host" != "$target" ] && ! command -v musl-gcc; then \
        apt-get update && apt-get install -y --no-install-recommends musl-tools; \
    fi; \
    cargo build --locked --release --target "$target"; \
    mkdir -p /out/root/etc/ssl/certs /out/data /out/root/tmp; \
    cp "target/$target/release/tidetable" /out/root/tidetable; \
    cp /etc/ssl/certs/ca-certificates.crt /out/root/etc/ssl/certs/; \
    chmod 1777 /out/root/tmp

FROM ${RUNTIME_IMAGE}
COPY --from=build /out/root/ /
COPY --from=build --chown=65532:65532 /out/data /data
ENV TIDETABLE_DATA_DIR=/data TIDETABLE_LISTEN=0.0.0.0:8888 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/tidetable", "healthcheck"]
ENTRYPOINT ["/tidetable"]
CMD ["serve"]
