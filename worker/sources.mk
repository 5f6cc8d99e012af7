# What the program rotor is made of: read by worker/Makefile and test/worker/Makefile.

# Our files besides main.c, one per line.
WORKER_SOURCES = \
	atomic_file.c \
	authorities.c \
	aws_api.c \
	aws_credentials.c \
	aws_metadata.c \
	aws_profile.c \
	aws_secret.c \
	backoff.c \
	breaker.c \
	bucket.c \
	child.c \
	command_check.c \
	command_set.c \
	control_check.c \
	control_db.c \
	control_password.c \
	deadline.c \
	held.c \
	http_client.c \
	http_server.c \
	ini_lines.c \
	job.c \
	json_splice.c \
	log.c \
	loop.c \
	loop_jobs.c \
	metrics.c \
	mysql_client.c \
	mysql_hash.c \
	mysql_session.c \
	options.c \
	options_file.c \
	options_table.c \
	options_value.c \
	outcome.c \
	peers.c \
	pg_client.c \
	pg_error.c \
	pgpass.c \
	pool.c \
	postgres_session.c \
	process.c \
	registry.c \
	resolve.c \
	secret_file.c \
	secret_json.c \
	steps.c \
	store_aws.c \
	store_file.c \
	store_vault.c \
	target_command.c \
	target_http.c \
	target_mysql.c \
	target_postgres.c \
	vault_kv.c \
	vault_session.c \
	wipe_heap.c \
	words.c

# Those of common/ that it needs, one per line.
WORKER_COMMON = \
	codec.c \
	envelope.c \
	error.c \
	random.c \
	scram.c \
	secret_buf.c

# The libraries: headers may lie anywhere, so both are asked for.
PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
WORKER_PACKAGES = libcurl libcjson libmicrohttpd libmariadb libcrypto
WORKER_CPPFLAGS := $(shell $(PKG_CONFIG) --cflags $(WORKER_PACKAGES)) -I$(shell $(PG_CONFIG) --includedir)
WORKER_LIBS := $(shell $(PKG_CONFIG) --libs $(WORKER_PACKAGES)) -linih -L$(shell $(PG_CONFIG) --libdir) -lpq -lm -pthread

WORKER_WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wvla -Wimplicit-fallthrough
ifeq ($(WERROR),1)
WORKER_WARNINGS += -Werror
endif
