# make run      the supervisor on CONFIG; without device-mapper in a sandbox, for DURATION seconds
# make test     the checks and all tests, those that need device-mapper in the sandbox
# make coverage all tests, and which branches they take, on the host and in guests together
# make torture  COUNT changes from SEED to files on ext4 and XFS, with interference, in the sandbox
# make soak     faults for MINUTES from SEED under a fleet with I/O, in the sandbox
# make bench    measures filemapd, dmfilemapd (PEER, if given) and the limit of the kernel; BENCH takes options
# make man      the man pages, in out/man
# make deb      the Debian package for this system's python3, in out/deb
# make check    style, types, and which folder imports which
# make clean    removes what the other targets built

PYTHON ?= python3
CONFIG ?= config/filemaps.yaml
# Seconds; 0 for until Ctrl-C.
DURATION ?= 40
SEED ?= 1
COUNT ?= 200
MINUTES ?= 10
PEER ?=
BENCH ?=

VENV := .venv
INSTALLED := $(VENV)/.installed
BIN := $(VENV)/bin

# What only tests need: PROGRAM=PACKAGE.
TOOLS := promtool=prometheus chromium=chromium mandoc=mandoc groff=groff-base \
    mmdebstrap=mmdebstrap zsh=zsh fish=fish jq=jq ps=procps openssl=openssl curl=curl strace=strace

.PHONY: run test coverage torture soak bench man deb check clean guest tools
# Remake a target whose recipe failed half-way.
.DELETE_ON_ERROR:

run: $(INSTALLED)
	@$(BIN)/python -m demo --have-device-mapper || sandbox/setup.sh
	@$(BIN)/python -m demo --config '$(CONFIG)' --duration '$(DURATION)'

test: $(INSTALLED)
	@$(MAKE) --jobs 2 --no-print-directory --output-sync check tools
	$(BIN)/python -m tests.run

coverage: tools
	rm -rf out/coverage
	$(BIN)/python -m tests.coverage

torture: guest
	$(BIN)/python -m sandbox --memory 3G -- python -m tests.torture --seed '$(SEED)' --count '$(COUNT)'

soak: guest
	$(BIN)/python -m sandbox --memory 3G -- python -m tests.soak --seed '$(SEED)' --minutes '$(MINUTES)'

bench: $(INSTALLED)
	@$(BIN)/python -m demo --have-device-mapper || { \
		sandbox/setup.sh linux.uml=user-mode-linux cc=build-essential && $(MAKE) --no-print-directory out/xstate.so; }
	@$(BIN)/python -m bench $(if $(PEER),--peer '$(PEER)') $(BENCH)

out/xstate.so: sandbox/xstate.c
	mkdir -p out
	cc -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

man: $(INSTALLED)
	$(BIN)/python -m builders.man out/man

deb: $(INSTALLED)
	rm -rf out/deb
	$(BIN)/python -m builders.deb out/deb

# A small Debian of this one's release: tests install the package in it.
out/debian.tar: | tools
	mkdir -p out
	. /etc/os-release && mmdebstrap --quiet --variant=essential --include=python3,systemd \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/locale/*' "$$VERSION_CODENAME" $@

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

tools: $(INSTALLED)
	@sandbox/setup.sh $(TOOLS)

guest: $(INSTALLED)
	@sandbox/setup.sh

clean:
	rm -rf $(VENV) out dist .mypy_cache .import_linter_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "filemapd needs Python 3.11: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sandbox/packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock -r requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@
