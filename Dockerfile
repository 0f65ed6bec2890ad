# The usual way to the image, for those who have a builder of containers. It is not
# the same byte for byte as that of `make image`, which needs none.
FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-Ctarget-feature=+crt-static -Cstrip=symbols"
RUN target="$(uname -m)-unknown-linux-gnu" \
 && cargo build --release --locked --package opamp-operator --target "$target" \
 && install -D "target/$target/release/opamp-operator" /image/opamp-operator

FROM scratch
COPY --from=build /image/ /src/LICENSE /
USER 65532:65532
ENTRYPOINT ["/opamp-operator"]
