# Landline: what a maintainer types. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo

BINDIR     = $(PREFIX)/bin
LIBDIR     = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
DATADIR    = $(PREFIX)/share

TARGET  = $(or $(CARGO_TARGET_DIR),target)
LIBRARY = $(TARGET)/release/liblandline.so
COMMAND = $(TARGET)/release/landline
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# What the tests of real programs look for.
export LANDLINE_LIB ?= $(abspath $(LIBRARY))
export LANDLINE_CMD ?= $(abspath $(COMMAND))

.DEFAULT_GOAL := help
.PHONY: help deps build demo test test-full units loom c-tests probe stress programs nets test-suites check layers bench install clean

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what this machine lacks (as root; else say the command to type)
	@tests/install-deps

# The shared object exports the C symbols, the command must not: two builds, with different features.
build: deps ## The library and the command, in target/release
	$(CARGO) rustc --release --lib --no-default-features --features interpose --crate-type cdylib
	$(CARGO) build --release --bin landline

demo: build ## Redis and nginx, unmodified, over the kernel and over Landline, side by side
	@tests/demo

test: build ## The everyday tests: units, loom, C tests and probe, a short stress, real programs
	@tests/suite

test-full: build ## Everything, with the long stress runs
	@tests/suite --full

units: build ## The Rust tests
	@tests/suite units

loom: ## Ring, doorbell and locks under the loom model checker
	@tests/suite loom

c-tests: build ## The C tests, on the plain kernel and preloaded
	@tests/suite c-tests

probe: build ## Hundreds of questions about sockets, asked of the kernel and of the library
	@tests/suite probe

stress: build ## The long stress runs: random kills, 10 GB checked byte by byte
	@tests/suite --full stress

nets: build ## Real programs in private nets: hosts, names, faults, captures
	@tests/suite nets

programs: build ## Real programs, unmodified, one or both ends preloaded
	@tests/suite programs

test-suites: build ## Python's own tests of sockets, processes and threads, plain and preloaded
	@tests/install-deps suites
	@tests/suites/run

check: deps layers ## Format, lints, floors, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --lib --no-default-features --features interpose -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

layers: ## Who imports whom, and where unsafe may be
	@tests/layers

bench: build ## Kernel TCP, AF_UNIX, socket_wrapper and Landline, interleaved
	@benches/run

# Installs what is built, so that `make` may run as a user and `make install` as root.
install: ## Library, header, pkg-config file, command, man page, completions (PREFIX, DESTDIR)
	@test -x $(LIBRARY) -a -x $(COMMAND) || $(MAKE) build
	install -d "$(DESTDIR)$(LIBDIR)/pkgconfig" "$(DESTDIR)$(INCLUDEDIR)" "$(DESTDIR)$(BINDIR)" \
	  "$(DESTDIR)$(DATADIR)/man/man1" "$(DESTDIR)$(DATADIR)/bash-completion/completions" \
	  "$(DESTDIR)$(DATADIR)/zsh/site-functions" "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d"
	install -m 755 $(LIBRARY) "$(DESTDIR)$(LIBDIR)/liblandline.so"
	install -m 644 include/landline.h "$(DESTDIR)$(INCLUDEDIR)/landline.h"
	install -m 755 $(COMMAND) "$(DESTDIR)$(BINDIR)/landline"
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	  'Name: landline' 'Description: The BSD sockets API over shared memory' 'Version: $(VERSION)' \
	  'Libs: -L$${libdir} -llandline' 'Cflags: -I$${includedir}' \
	  > "$(DESTDIR)$(LIBDIR)/pkgconfig/landline.pc"
	$(COMMAND) man > "$(DESTDIR)$(DATADIR)/man/man1/landline.1"
	$(COMMAND) completions bash > "$(DESTDIR)$(DATADIR)/bash-completion/completions/landline"
	$(COMMAND) completions zsh > "$(DESTDIR)$(DATADIR)/zsh/site-functions/_landline"
	$(COMMAND) completions fish > "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/landline.fish"

clean: ## Remove what was built
	$(CARGO) clean
