# The usual way to the image, for those who have a builder of containers. `make image`
# needs none, is the same byte for byte from every clone with the same compilers and
# C library, and says what it is made of.
FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-Ctarget-feature=+crt-static -Cstrip=symbols"
RUN target="$(uname -m)-unknown-linux-gnu" \
 && cargo build --release --locked --package opamp-operator --target "$target" \
 && install -D "target/$target/release/opamp-operator" /image/opamp-operator

FROM scratch
# Whom the `jwks.url` of an authenticator may be vouched for by.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /image/ /src/LICENSE /
USER 65532:65532
ENTRYPOINT ["/opamp-operator"]
