# rotor: database passwords that change themselves.
#
#   make && make install        builds and installs for the PostgreSQL of PG_CONFIG (default: pg_config in the PATH)
#   make help                   lists everything else

EXTENSION = rotor
MODULE_big = rotor
PGFILEDESC = "rotor - rotates database passwords"
DATA = rotor--1.0.sql

PG_CONFIG ?= pg_config

# The rooms of the extension and the sources shared with programs outside the server, one per line.
OBJS = \
	src/access.o \
	src/audit.o \
	src/bgworker.o \
	src/catalog.o \
	src/catalog_read.o \
	src/catalog_rotation.o \
	src/catalog_run.o \
	src/fsm.o \
	src/functions.o \
	src/functions_admin.o \
	src/functions_generate.o \
	src/functions_guard.o \
	src/functions_health.o \
	src/functions_manage.o \
	src/functions_observe.o \
	src/functions_rotate.o \
	src/functions_secret.o \
	src/guc.o \
	src/hba.o \
	src/keyring.o \
	src/login.o \
	src/manage.o \
	src/policy.o \
	src/report.o \
	src/request.o \
	src/role.o \
	src/rotation.o \
	src/rotation_state.o \
	src/rotation_steps.o \
	src/rotor.o \
	src/route.o \
	src/schedule.o \
	src/sealing.o \
	src/transaction.o \
	common/codec.o \
	common/error.o \
	common/keyfile.o \
	common/password.o \
	common/random.o \
	common/scram.o \
	common/seal.o \
	common/secret_buf.o

# The pieces of rotor--1.0.sql, in the order in which they must run.
SQL_PARTS = \
	sql/schema.sql \
	sql/tables.sql \
	sql/generate.sql \
	sql/secret.sql \
	sql/rotate.sql \
	sql/admin.sql \
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
	roles \
	settings \
	queue \
	access \
	audit \
	keys \
	health \
	views \
	extension

ISOLATION = \
	rotate_rotate \
	alter_role \
	drop_role \
	rename_role \
	cancel \
	two_workers \
	caller_locks

# ---------------------------------------------------------------------------------------------------------------------
# Flags

PG_CPPFLAGS = -iquote $(srcdir)/common -I$(libpq_srcdir)
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

# The same sources make the same library, in whatever folder they lie.
PG_CFLAGS += -ffile-prefix-map='$(CURDIR)'=.

# Each object notes the headers it was made from, so that it is remade when one of them changes.
PG_CFLAGS += -MMD -MP

# No bitcode: the planner has nothing to inline here, and clang need not be installed.
override with_llvm = no

EXTRA_CLEAN = build src/*.o src/*.d common/*.o common/*.d

# ---------------------------------------------------------------------------------------------------------------------
# Build

.PHONY: all
all: rotor--1.0.sql

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)

# Regression and isolation tests use the one database that rotor.database names in them; see installcheck below.
NO_INSTALLCHECK = 1
include $(PGXS)

ifeq ($(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS))$(findstring -O0,$(CFLAGS)),)
override CPPFLAGS += -D_FORTIFY_SOURCE=2
endif

# Everything is rebuilt when a flag, the server's version or the list of objects is another than last time.
BUILD_FLAGS = $(VERSION) $(COMPILE.c) $(LDFLAGS) $(SHLIB_LINK) $(OBJS)

build/flags: FORCE
	@mkdir -p build
	@printf '%s\n' '$(subst ','\'',$(BUILD_FLAGS))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(OBJS): build/flags

-include $(OBJS:.o=.d)

clean: clean-unit

else

.PHONY: install uninstall installcheck clean
all install uninstall installcheck: no-server-headers
clean: clean-unit
	rm -rf rotor.so $(EXTRA_CLEAN)

.PHONY: no-server-headers
no-server-headers:
	@echo >&2 "rotor: PostgreSQL's server headers were not found by '$(PG_CONFIG)'."
	@echo >&2 "Give another one with PG_CONFIG=/path/to/pg_config, or install them: 'make deps' does that on Debian."
	@exit 1

endif

.PHONY: FORCE clean-unit
FORCE:

clean-unit:
	@if test -f test/unit/Makefile; then $(MAKE) --no-print-directory -C test/unit clean; fi

# ---------------------------------------------------------------------------------------------------------------------
# The installation script, assembled from its pieces

define assemble_sql
{ echo "-- Assembled from sql/ by the Makefile: change the pieces there, not this file."; \
  for part in $(SQL_PARTS); do printf '\n-- %s\n\n' "$$part"; cat "$$part" || exit 1; done; }
endef

rotor--1.0.sql: $(SQL_PARTS)
	@$(assemble_sql) >$@.new && mv $@.new $@ || { rm -f $@.new; exit 1; }

.PHONY: check-sql
check-sql: ## Prove that rotor--1.0.sql is what its pieces make
	@$(assemble_sql) | diff -u rotor--1.0.sql - || \
		{ echo >&2 "rotor--1.0.sql is not current: 'make rotor--1.0.sql' assembles it."; exit 1; }

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
	REGRESS='$(strip $(REGRESS))' ISOLATION='$(strip $(ISOLATION))' TESTS='$(TESTS)' TAP='$(TAP)' \
	LISTS_FROM='$(origin REGRESS) $(origin ISOLATION)'

.PHONY: help deps test demo bench format check-format

help: ## List these targets
	@printf '%-16s%s\n' all 'Build the extension (the default)' \
		install 'Install it for the PostgreSQL of PG_CONFIG' \
		installcheck 'Run the SQL and isolation tests against a running server' \
		clean 'Remove everything that was built'
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/\1 \2/p' Makefile | while read -r target text; do \
		printf '%-16s%s\n' "$$target" "$$text"; done

deps: ## Install the Debian packages that building and testing need
	@$(SCRIPT_ENV) scripts/deps.sh build test

test: ## Install what is missing, build, run every test; TESTS="static unit ..." TAP="t/010_x.pl" REGRESS="..." choose
	@$(SCRIPT_ENV) scripts/deps.sh build test
	+@$(SCRIPT_ENV) test/run

demo: ## Install what is missing, build, and rotate a role on a throw-away server while a client keeps logging in
	@$(SCRIPT_ENV) scripts/deps.sh build
	@$(MAKE) --no-print-directory -s all
	+@$(SCRIPT_ENV) scripts/install.sh
	@$(SCRIPT_ENV) scripts/demo.sh

bench: ## Install what is missing, build, and measure on a throw-away server, each figure beside its floor
	@$(SCRIPT_ENV) scripts/deps.sh build
	@$(MAKE) --no-print-directory -s all build/bench
	+@$(SCRIPT_ENV) scripts/install.sh
	@$(SCRIPT_ENV) scripts/bench.sh

build/bench: bench/bench.c Makefile
	@mkdir -p build
	$(CC) $(filter-out -fvisibility=hidden -MMD -MP,$(CFLAGS)) -I$(libpq_srcdir) -o $@ $< $(PG_LDFLAGS) $(libpq) -lm

CLANG_FORMAT ?= clang-format-14
C_FILES = $(shell find src common test/unit bench -name '*.[ch]' 2>/dev/null)

format: ## Format the C sources
	@$(CLANG_FORMAT) -i $(C_FILES)

check-format: ## Prove that the C sources are formatted
	@$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
