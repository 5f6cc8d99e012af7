# rotor: database passwords that change themselves.
#
#   make && make install        builds and installs for the PostgreSQL of PG_CONFIG (default: pg_config in the PATH)
#   make help                   lists everything else

EXTENSION = rotor
MODULE_big = rotor
PGFILEDESC = "rotor - rotates database passwords"

# The version of the SQL that the library belongs to: the extension must have it too.
ROTOR_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" rotor.control)
ROTOR_SQL = rotor--$(ROTOR_VERSION).sql

# Also what was released before, and the scripts that lead from there to here.
DATA = $(sort $(ROTOR_SQL) $(wildcard rotor--*.sql))

PG_CONFIG ?= pg_config

# The rooms of the extension and the sources shared with programs outside the server, one per line.
OBJS = \
	src/access.o \
	src/audit.o \
	src/bgworker.o \
	src/catalog.o \
	src/catalog_due.o \
	src/catalog_emergency.o \
	src/catalog_keys.o \
	src/catalog_lease.o \
	src/catalog_read.o \
	src/catalog_rotation.o \
	src/catalog_run.o \
	src/catalog_scan.o \
	src/catch_up.o \
	src/clock.o \
	src/emergency.o \
	src/fsm.o \
	src/functions.o \
	src/functions_admin.o \
	src/functions_emergency.o \
	src/functions_generate.o \
	src/functions_guard.o \
	src/functions_health.o \
	src/functions_intake.o \
	src/functions_keys.o \
	src/functions_manage.o \
	src/functions_observe.o \
	src/functions_rotate.o \
	src/functions_schedule.o \
	src/functions_secret.o \
	src/functions_transfer.o \
	src/functions_upkeep.o \
	src/functions_worker.o \
	src/glance.o \
	src/grants.o \
	src/guc.o \
	src/hba.o \
	src/intake.o \
	src/keyring.o \
	src/lease.o \
	src/login.o \
	src/login_slots.o \
	src/maintenance.o \
	src/manage.o \
	src/manage_pair.o \
	src/pair.o \
	src/master_key.o \
	src/master_key_file.o \
	src/outside.o \
	src/policy.o \
	src/reconcile.o \
	src/report.o \
	src/request.o \
	src/resealing.o \
	src/retention.o \
	src/role.o \
	src/rotation.o \
	src/rotation_batch.o \
	src/rotation_outside.o \
	src/rotation_queue.o \
	src/rotation_state.o \
	src/rotation_steps.o \
	src/rotation_turns.o \
	src/rotor.o \
	src/route.o \
	src/schedule.o \
	src/sealing.o \
	src/statement.o \
	src/transaction.o \
	src/watch.o \
	src/work_order.o \
	common/codec.o \
	common/cron.o \
	common/cron_zone.o \
	common/envelope.o \
	common/error.o \
	common/keyfile.o \
	common/password.o \
	common/random.o \
	common/scram.o \
	common/seal.o \
	common/secret_buf.o

# The pieces of $(ROTOR_SQL), in the order in which they must run.
SQL_PARTS = \
	sql/schema.sql \
	sql/tables.sql \
	sql/generate.sql \
	sql/secret.sql \
	sql/rotate.sql \
	sql/worker.sql \
	sql/intake.sql \
	sql/admin.sql \
	sql/keys.sql \
	sql/observe.sql \
	sql/guards.sql

# Tests against a running server: pg_regress and pg_isolation_regress, in this order.
REGRESS = \
	setup \
	first_key \
	generate \
	policy \
	manage \
	secret \
	rotate \
	schedule \
	roles \
	settings \
	queue \
	access \
	audit \
	keys \
	health \
	views \
	snapshot \
	upkeep \
	compliance \
	outside \
	pair \
	objects \
	extension

ISOLATION = \
	rotate_rotate \
	alter_role \
	drop_role \
	rename_role \
	cancel \
	two_workers \
	caller_locks \
	lease_renewal

# ---------------------------------------------------------------------------------------------------------------------
# Flags

PG_CPPFLAGS = -iquote $(srcdir)/common -I$(libpq_srcdir) -DROTOR_VERSION='"$(ROTOR_VERSION)"'
SHLIB_LINK = $(libpq) -lcrypto

# Only what PostgreSQL calls is visible outside the library. Servers before 16 leave PGDLLEXPORT empty.
PG_CPPFLAGS += -DPGDLLEXPORT='__attribute__((visibility("default")))'
PG_CFLAGS += -fvisibility=hidden

# The last group is what PostgreSQL's own headers and macros do not keep to.
PG_CFLAGS += -std=gnu11 -fstack-protector-strong
PG_CFLAGS += -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wvla -Wimplicit-fallthrough
PG_CFLAGS += -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-declaration-after-statement
# gcc does not see that nothing after PG_END_TRY runs once PG_FINALLY has raised the error again; clang has no such warning.
PG_CFLAGS += $(if $(findstring clang,$(CC)),,-Wno-clobbered)

PG_LDFLAGS = -Wl,-z,relro -Wl,-z,now

ifeq ($(WERROR),1)
PG_CFLAGS += -Werror
endif

# For tests only, see scripts/coverage.sh, which builds elsewhere: a library that counts which lines run (COVERAGE=1), and
# one whose calls can be made to fail (FAULTS=1, also with the former).
ifeq ($(COVERAGE),1)
FAULTS = 1
PG_CPPFLAGS += -DROTOR_COVERAGE
PG_CFLAGS += -O0 --coverage
PG_LDFLAGS += --coverage
endif
ifeq ($(FAULTS),1)
include test/faults/faults.mk
PG_CPPFLAGS += -iquote $(srcdir)/src
OBJS += test/faults/fault.o test/faults/wrap_common.o test/faults/wrap_server.o
SHLIB_LINK += $(call fault_flags,test/faults/wrap_common.c test/faults/wrap_server.c)
endif

# The same sources make the same library, in whatever folder they lie.
PG_CFLAGS += -ffile-prefix-map='$(CURDIR)'=.

# Each object notes the headers it was made from, so that it is remade when one of them changes.
PG_CFLAGS += -MMD -MP

# No bitcode: the planner has nothing to inline here, and clang need not be installed.
override with_llvm = no

EXTRA_CLEAN = build src/*.o src/*.d common/*.o common/*.d test/faults/*.o test/faults/*.d

# ---------------------------------------------------------------------------------------------------------------------
# Build

.PHONY: all
all: $(ROTOR_SQL)

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)

# Regression and isolation tests use the one database that rotor.database names in them; see installcheck below.
NO_INSTALLCHECK = 1
include $(PGXS)

# Not for the address sanitizer, which does not know the functions that it puts in the place of memcpy() and its like.
ifneq ($(findstring -fsanitize=address,$(CFLAGS)),)
override CPPFLAGS += -U_FORTIFY_SOURCE
else ifeq ($(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS))$(findstring -O0,$(CFLAGS)),)
override CPPFLAGS += -D_FORTIFY_SOURCE=2
endif
# It has functions of its own in the place of those that can be made to fail, and does not go with -O0.
ifneq ($(FAULTS)$(findstring -O0,$(CFLAGS)),)
override CPPFLAGS += -U_FORTIFY_SOURCE
endif

# Everything is rebuilt when a flag, the server's version or the list of objects is another than last time.
BUILD_FLAGS = $(VERSION) $(COMPILE.c) $(LDFLAGS) $(SHLIB_LINK) $(OBJS)

build/flags: FORCE
	@mkdir -p build
	@printf '%s\n' '$(subst ','\'',$(BUILD_FLAGS))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(OBJS): build/flags

-include $(OBJS:.o=.d)

clean: clean-tests

# Not part of install: PGXS has no such thing, and where man(1) looks is for whoever packages it to know.
.PHONY: install-man uninstall-man
install-man:
	$(MKDIR_P) '$(DESTDIR)$(mandir)/man7'
	$(INSTALL_DATA) '$(srcdir)/docs/rotor.7' '$(DESTDIR)$(mandir)/man7/rotor.7'

uninstall-man:
	rm -f '$(DESTDIR)$(mandir)/man7/rotor.7'

else

.PHONY: install uninstall installcheck clean
all install uninstall installcheck: no-server-headers
clean: clean-tests
	rm -rf rotor.so $(EXTRA_CLEAN)

.PHONY: no-server-headers
no-server-headers:
	@echo >&2 "rotor: PostgreSQL's server headers were not found by '$(PG_CONFIG)'."
	@echo >&2 "Give another one with PG_CONFIG=/path/to/pg_config, or install them: 'make deps' does that on Debian."
	@exit 1

endif

.PHONY: FORCE clean-tests
FORCE:

clean-tests:
	@for dir in test/unit test/worker test/fuzz; do ! test -f $$dir/Makefile || $(MAKE) --no-print-directory -C $$dir clean; done

# ---------------------------------------------------------------------------------------------------------------------
# The program that works outside the server; `all` and `install` are about the extension alone, so that a server needs
# none of its libraries.

.PHONY: worker install-worker uninstall-worker
worker: ## Build the program rotor, in build/worker
	@$(MAKE) --no-print-directory -C worker PG_CONFIG='$(PG_CONFIG)'

# Not among the server's programs, where no PATH leads.
WORKER_PREFIX ?= /usr/local
WORKER_BINDIR = $(WORKER_PREFIX)/bin
WORKER_MANDIR = $(WORKER_PREFIX)/share/man

install-worker: worker ## Install the program rotor
	install -d '$(DESTDIR)$(WORKER_BINDIR)'
	install -m 755 build/worker/rotor '$(DESTDIR)$(WORKER_BINDIR)/rotor'
	install -d '$(DESTDIR)$(WORKER_MANDIR)/man1'
	install -m 644 docs/rotor.1 '$(DESTDIR)$(WORKER_MANDIR)/man1/rotor.1'

uninstall-worker:
	rm -f '$(DESTDIR)$(WORKER_BINDIR)/rotor' '$(DESTDIR)$(WORKER_MANDIR)/man1/rotor.1'

# ---------------------------------------------------------------------------------------------------------------------
# The installation script, assembled from its pieces

define assemble_sql
{ echo "-- Assembled from sql/ by the Makefile: change the pieces there, not this file."; \
  for part in $(SQL_PARTS); do printf '\n-- %s\n\n' "$$part"; cat "$$part" || exit 1; done; }
endef

$(ROTOR_SQL): $(SQL_PARTS)
	@$(assemble_sql) >$@.new && mv $@.new $@ || { rm -f $@.new; exit 1; }

.PHONY: check-sql
check-sql: ## Prove that the installation script is what its pieces make
	@$(assemble_sql) | diff -u $(ROTOR_SQL) - || \
		{ echo >&2 "$(ROTOR_SQL) is not current: 'make $(ROTOR_SQL)' assembles it."; exit 1; }

# ---------------------------------------------------------------------------------------------------------------------
# Tests

ifneq ($(wildcard $(PGXS)),)

# As PGXS does it, except that both suites use the same database (rotor works in one of a cluster), which is dropped
# before each: rotor's workers may still be connected to it, and pg_regress would give up.
TEST_DATABASE = contrib_regression
drop_test_database = $(bindir)/psql -X -q -d postgres -c 'SET client_min_messages = warning' \
	-c 'DROP DATABASE IF EXISTS $(TEST_DATABASE) WITH (FORCE)'

.PHONY: installcheck
installcheck:
	@mkdir -p build/regress build/isolation
	$(drop_test_database)
	$(pg_regress_installcheck) --inputdir=$(srcdir)/test/regress --outputdir=build/regress \
		$(REGRESS_OPTS) --dbname=$(TEST_DATABASE) $(REGRESS)
	$(drop_test_database)
	@if $(bindir)/psql -X -A -t -d postgres -c 'SHOW shared_preload_libraries' | grep -qw rotor; then \
		$(pg_isolation_regress_installcheck) --inputdir=$(srcdir)/test/isolation --outputdir=build/isolation \
			$(ISOLATION_OPTS) --dbname=$(TEST_DATABASE) $(ISOLATION); \
	else \
		echo 'The isolation tests are left out: they need a server that preloads rotor.'; \
	fi

endif

# Nothing under make -n, although these lines name $(MAKE); else what the scripts need to know.
SCRIPT_ENV = $(if $(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),: )PG_CONFIG='$(PG_CONFIG)' MAKE='$(MAKE)' OBJS='$(strip $(OBJS))' SQL_PARTS='$(strip $(SQL_PARTS))' \
	REGRESS='$(strip $(REGRESS))' ISOLATION='$(strip $(ISOLATION))' TESTS='$(TESTS)' TAP='$(TAP)' ENVIRONMENTS='$(ENVIRONMENTS)' \
	LISTS_FROM='$(origin REGRESS) $(origin ISOLATION)'

.PHONY: help deps test test-only test-majors coverage fuzz model sanitize torture demo bench sizes deb format check-format analyze

help: ## List these targets
	@printf '%-16s%s\n' all 'Build the extension (the default)' \
		install 'Install it for the PostgreSQL of PG_CONFIG' \
		install-man 'Install the manual page there' \
		installcheck 'Run the SQL and isolation tests against a running server' \
		clean 'Remove everything that was built'
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/\1 \2/p' Makefile | while read -r target text; do \
		printf '%-16s%s\n' "$$target" "$$text"; done

deps: ## Install the Debian packages that building and testing need
	@$(SCRIPT_ENV) scripts/deps.sh build test analysis model package

test: ## Install what is missing, build, run every test; TESTS="static unit ..." TAP="t/010_x.pl" REGRESS="..." choose
	@$(SCRIPT_ENV) scripts/deps.sh build test analysis model package
	+@$(SCRIPT_ENV) test/run

test-only: ## As test, but install no packages
	+@$(SCRIPT_ENV) test/run

# As root: each major version lives in a Debian of its own. MAKEFLAGS would hand this one's settings on to it.
test-majors: ## Run the tests on PostgreSQL 17 and 18, and pg_upgrade; MAJORS="17 18 upgrade" and what test knows choose
	@$(SCRIPT_ENV) scripts/deps.sh majors
	@env -u MAKEFLAGS -u MAKELEVEL MAJORS='$(MAJORS)' TESTS='$(TESTS)' TAP='$(TAP)' REGRESS='$(if $(filter command,$(origin REGRESS)),$(REGRESS))' ISOLATION='$(if $(filter command,$(origin ISOLATION)),$(ISOLATION))' scripts/majors.sh

coverage: ## Install what is missing, run the tests on a build that counts, and tell which lines of the C code ran
	@$(SCRIPT_ENV) scripts/deps.sh build test analysis coverage
	+@$(SCRIPT_ENV) scripts/coverage.sh

fuzz: ## Fuzz common/ with the corpus of test/fuzz, FUZZ_SECONDS=10 for each target; TARGETS="seal ..." chooses
	@$(SCRIPT_ENV) scripts/deps.sh build test analysis
	@$(MAKE) --no-print-directory -C test/fuzz run

model: ## Install what is missing, and check the model of the protocol in docs/model with spin; VARIANTS="self guess" chooses
	@$(SCRIPT_ENV) scripts/deps.sh model
	@$(SCRIPT_ENV) scripts/model.sh $(VARIANTS)

sanitize: ## Install what is missing, run the server's tests on a build under the address and undefined-behaviour sanitizers
	@$(SCRIPT_ENV) scripts/deps.sh build test analysis
	+@$(SCRIPT_ENV) scripts/sanitize.sh

torture: ## Install what is missing, kill processes while rotations run, and prove that nothing is lost; KILLS=100 SEED=
	@$(SCRIPT_ENV) scripts/deps.sh build test
	+@$(SCRIPT_ENV) KILLS="$(KILLS)" SEED="$(SEED)" scripts/torture.sh

demo: ## Install what is missing, build, and rotate a role on a throw-away server while a client keeps logging in
	@$(SCRIPT_ENV) scripts/deps.sh build
	@$(MAKE) --no-print-directory -s all
	+@$(SCRIPT_ENV) scripts/install.sh
	@$(SCRIPT_ENV) scripts/demo.sh

bench: ## Install what is missing, build, and measure on a throw-away server, each figure beside its floor
	@$(SCRIPT_ENV) scripts/deps.sh build worker
	@$(MAKE) --no-print-directory -s all worker build/bench build/emergency build/remote
	@$(MAKE) --no-print-directory -s -C test/worker build/plain/proxy
	+@$(SCRIPT_ENV) scripts/install.sh
	@$(SCRIPT_ENV) scripts/bench.sh
	@$(SCRIPT_ENV) scripts/bench-schedule.sh
	@$(SCRIPT_ENV) scripts/bench-emergency.sh
	@$(SCRIPT_ENV) scripts/bench-memory.sh
	@$(SCRIPT_ENV) scripts/bench-worker.sh

sizes: ## Measure what years of rotations leave on disk; ROLES=1000 DAYS=480
	@$(SCRIPT_ENV) scripts/deps.sh build
	@$(MAKE) --no-print-directory -s all
	+@$(SCRIPT_ENV) scripts/install.sh
	@$(SCRIPT_ENV) scripts/sizes.sh

deb: ## Install what is missing, and build Debian packages into build/deb, for each server version of this release
	@$(SCRIPT_ENV) scripts/deps.sh package
	@env -u MAKEFLAGS -u MAKELEVEL scripts/deb.sh build/deb

build/bench build/emergency build/remote: build/%: bench/%.c Makefile
	@mkdir -p build
	$(CC) $(filter-out -fvisibility=hidden -MMD -MP,$(CFLAGS)) -D_GNU_SOURCE -I$(libpq_srcdir) -o $@ $< $(PG_LDFLAGS) $(libpq) -lm

CLANG_FORMAT ?= clang-format-14
C_FILES = $(shell find src common worker test bench -name '*.[ch]' 2>/dev/null)

format: ## Format the C sources
	@$(CLANG_FORMAT) -i $(C_FILES)

check-format: ## Prove that the C sources are formatted
	@$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)

analyze: ## Analyze the C sources with gcc -fanalyzer, cppcheck and clang-tidy
	@$(SCRIPT_ENV) scripts/analyze.sh
