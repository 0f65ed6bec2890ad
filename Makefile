# What a contributor runs.  `.ci/run` runs `make test`.
#
#   make demo      three real agents are moved to mutual TLS and follow a renewal (KEEP=1 stays up)
#   make test      everything: lint, units, integration, end to end
#   make lint      formatting and clippy
#   make parts     builds the real parts of the tests, and says where they are
#   make operator  the operator, as people install it
#   make image     the operator's image as an OCI archive, and what it is made of; needs no Docker
#   make image-verify  builds two clones in different places: are their images the same?
#   make fuzz      hostile input by the million: SECONDS=600 each TARGET="frame gzip"
#   make generate  the CRDs from the types, also into the chart, and docs/{conformance,conditions,metrics,crds}.md
#   make doc       the API documentation

CARGO ?= cargo
# End-to-end tests mostly wait; more of them than cores may run at once.
RUST_TEST_THREADS ?= 4
export RUST_TEST_THREADS
LEFT_OUT = $(CARGO) run --quiet --locked --package e2e -- left-out

.DEFAULT_GOAL := help
.PHONY: help demo test lint fuzz generate doc operator parts image image-verify

help:
	@sed -n 's/^#   //p' $(MAKEFILE_LIST)

demo:
	$(CARGO) run --release --locked --package e2e -- demo

# As people install it: optimised.
operator:
	$(CARGO) build --release --locked --package opamp-operator

image:
	$(CARGO) run --quiet --locked --package packaging -- image

image-verify:
	$(CARGO) run --quiet --locked --package packaging -- verify

parts:
	$(CARGO) run --locked --package e2e -- build --set all

# Tests whose tools are missing are left out, and named before and after the rest.
# The operator is tested as people install it: the image's binary.
test: lint image parts
	left_out="$$($(LEFT_OUT))" && $(CARGO) test --workspace --locked --all-targets -- $$left_out
	@$(LEFT_OUT) >/dev/null

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings

# What is checked is in fuzz/checks; `make test` replays the seeds.
fuzz: SECONDS ?= 60
fuzz: TARGET ?= body frame gzip jwt pem profile
fuzz:
	fuzz/run $(SECONDS) $(TARGET)

generate:
	for directory in crds charts/opamp-operator/files; do \
	  $(CARGO) run --quiet --package opamp-operator -- crd --directory $$directory || exit 1; done
	UPDATE=1 $(CARGO) test --quiet --locked --package opamp-operator --test requirements --test conditions --test chart --test metrics --test reference

doc:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --locked
