# virtbridge: every command that a person or a machine needs. `make help` lists them.
#
# `make run` and `make test` each do all of the set-up that they need, on a fresh Debian 12: packages (as
# root), the virtual environment .venv, and virtbridge in it. .ci/setup does it and says what it does.

PYTHON ?= python3
PREFIX ?= /usr/local
DESTDIR ?=
# The interpreter of the installed service: Debian's, with python3-libvirt, python3-dbus-next, python3-lxml.
SERVICE_PYTHON ?= /usr/bin/python3

VENV := .venv
BIN := $(VENV)/bin

# Debian's packages, by what they are needed for.
PACKAGES_run := python3-venv python3-dev gcc pkg-config libvirt-dev dbus-daemon systemd libglib2.0-bin
PACKAGES_test := libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils \
	dnsmasq-base iptables iproute2 dbus-broker groff-base polkitd \
	python3-libvirt python3-dbus-next python3-lxml python3-gi gir1.2-glib-2.0
PACKAGES_bench := libvirt-dbus
PACKAGES_system := debootstrap systemd-container

# What an installation is made of. /usr/local has no bus policies of its own, so they go to /etc there.
BINDIR := $(PREFIX)/bin
LIBDIR := $(PREFIX)/lib/virtbridge
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
DBUSDIR := $(PREFIX)/share/dbus-1
# Where polkit before 124 reads actions, whatever the prefix.
ACTIONSDIR := /usr/share/polkit-1/actions
EXAMPLESDIR := $(PREFIX)/share/doc/virtbridge/examples
MANDIR := $(PREFIX)/share/man
POLICYDIR := $(if $(filter /usr,$(PREFIX)),/usr/share/dbus-1/system.d,/etc/dbus-1/system.d)

# The tests and the benchmark start some hundred daemons, and compiling virtbridge takes longer than its start.
unexport PYTHONDONTWRITEBYTECODE

# What keeps libvirt before 10.4 from a crash, see its source. Nothing but a C compiler and GLib itself is needed.
GUARD := virtbridge/source/calls/libevent_source_guard.so

SETUP = PYTHON='$(PYTHON)' VENV='$(VENV)' ./.ci/setup

.PHONY: help setup setup-run setup-test setup-bench setup-system \
	run test check bench soak docs test-system install uninstall clean
.NOTPARALLEL:

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

run: setup-run  ## a private bus with the service on libvirt's test driver, and what to try on it
	@$(BIN)/python -m virtbridge.tour

# The tests wait for other processes much of the time, so three workers keep two cores busy. The tests of one
# file share daemons and run one after the other.
PYTEST = $(BIN)/python -m pytest -n 3 --dist loadfile

test: setup-test  ## all tests, and those of the bus once more with the other D-Bus library
	$(PYTEST)
	VIRTBRIDGE_DBUS_LIBRARY=dbus-next $(PYTEST) tests/bus

check: setup-test  ## style and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: setup-bench  ## measure against libvirt-dbus
	$(BIN)/python -m tests.bench

SECONDS := 600

soak: setup-test  ## lose the host again and again for SECONDS, 600 unless given (root)
	$(BIN)/python -m tests.soak $(SECONDS)

docs: setup-run  ## write dbus/API.md from the contract
	$(BIN)/python -m virtbridge.bus.reference > dbus/API.md.new && mv dbus/API.md.new dbus/API.md

test-system: setup-system  ## the installed service in a booted container (root; takes minutes)
	VIRTBRIDGE_TEST_SYSTEM=1 $(BIN)/python -m pytest -v tests/system

setup: setup-test  ## .venv with virtbridge and everything that run, test and check need

setup-run:
	@$(SETUP) run $(PACKAGES_run)
	@$(MAKE) --no-print-directory -s $(GUARD)

setup-test:
	@$(SETUP) test $(PACKAGES_run) $(PACKAGES_test)
	@$(MAKE) --no-print-directory -s $(GUARD)

setup-bench:
	@$(SETUP) test $(PACKAGES_run) $(PACKAGES_test) $(PACKAGES_bench)
	@$(MAKE) --no-print-directory -s $(GUARD)

setup-system:
	@$(SETUP) test $(PACKAGES_run) $(PACKAGES_test) $(PACKAGES_system)
	@$(MAKE) --no-print-directory -s $(GUARD)

$(GUARD): virtbridge/source/calls/event_source_guard.c
	$(CC) -O2 -Wall -Wextra -shared -fPIC -o $@ $< -Wl,--no-as-needed -l:libglib-2.0.so.0

install:  ## the service for this machine, or into DESTDIR for a package; PREFIX is /usr/local
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(UNITDIR)' '$(DESTDIR)$(SYSUSERSDIR)' \
		'$(DESTDIR)$(DBUSDIR)/system-services' '$(DESTDIR)$(DBUSDIR)/interfaces' '$(DESTDIR)$(POLICYDIR)' \
		'$(DESTDIR)$(ACTIONSDIR)' '$(DESTDIR)$(EXAMPLESDIR)'
	rm -rf '$(DESTDIR)$(LIBDIR)/virtbridge'
	to="$$(cd '$(DESTDIR)$(LIBDIR)' && pwd)" && cd virtbridge && \
		find -L . \( -name '*.py' -o -name '*.xml' -o -name py.typed \) -exec \
		install -D -m 644 '{}' "$$to/virtbridge/{}" ';'
	@if $(MAKE) --no-print-directory $(GUARD); then install -m 755 $(GUARD) '$(DESTDIR)$(LIBDIR)/$(GUARD)'; \
		else echo 'No C compiler: with libvirt before 10.4 the service may crash when a host is lost.'; fi
	umask 022 && $(SERVICE_PYTHON) -m compileall -q -s '$(DESTDIR)' '$(DESTDIR)$(LIBDIR)'
	umask 022 && sed -e 's|@PYTHON@|$(SERVICE_PYTHON)|' -e 's|@LIBDIR@|$(LIBDIR)|' systemd/virtbridge.in \
		> '$(DESTDIR)$(BINDIR)/virtbridge'
	chmod 755 '$(DESTDIR)$(BINDIR)/virtbridge'
	sed 's|/usr/bin/virtbridge|$(BINDIR)/virtbridge|' systemd/virtbridge.service \
		> '$(DESTDIR)$(UNITDIR)/virtbridge.service'
	chmod 644 '$(DESTDIR)$(UNITDIR)/virtbridge.service'
	install -m 644 systemd/virtbridge.sysusers '$(DESTDIR)$(SYSUSERSDIR)/virtbridge.conf'
	install -m 644 dbus/org.virtbridge1.conf '$(DESTDIR)$(POLICYDIR)'
	install -m 644 dbus/org.virtbridge1.policy '$(DESTDIR)$(ACTIONSDIR)'
	install -m 644 dbus/examples/*.rules '$(DESTDIR)$(EXAMPLESDIR)'
	install -m 644 dbus/org.virtbridge1.service '$(DESTDIR)$(DBUSDIR)/system-services'
	install -m 644 dbus/org.virtbridge1.*.xml '$(DESTDIR)$(DBUSDIR)/interfaces'
	install -D -m 644 docs/man/virtbridge.8 '$(DESTDIR)$(MANDIR)/man8/virtbridge.8'
	install -D -m 644 docs/man/virtbridge.toml.5 '$(DESTDIR)$(MANDIR)/man5/virtbridge.toml.5'
	@[ -n '$(DESTDIR)' ] || printf '%s\n' 'Now, as root:' '  systemd-sysusers' \
		'  systemctl daemon-reload && systemctl reload dbus' '  systemctl enable --now virtbridge'

uninstall:  ## what install put there; the user, its home and /etc/virtbridge stay
	rm -rf '$(DESTDIR)$(BINDIR)/virtbridge' '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(UNITDIR)/virtbridge.service' \
		'$(DESTDIR)$(SYSUSERSDIR)/virtbridge.conf' '$(DESTDIR)$(POLICYDIR)/org.virtbridge1.conf' \
		'$(DESTDIR)$(DBUSDIR)/system-services/org.virtbridge1.service' \
		'$(DESTDIR)$(DBUSDIR)/interfaces'/org.virtbridge1.*.xml \
		'$(DESTDIR)$(ACTIONSDIR)/org.virtbridge1.policy' '$(DESTDIR)$(EXAMPLESDIR)' \
		'$(DESTDIR)$(MANDIR)/man8/virtbridge.8' '$(DESTDIR)$(MANDIR)/man5/virtbridge.toml.5'

clean:  ## what the commands above made in this directory
	rm -rf $(GUARD) $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf '{}' +
