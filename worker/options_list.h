/*
 * options_list.h - every setting of the program, one entry each; read by options.h and options_table.c.
 *
 * From here come the flags, the environment's variables, the keys of the file, the defaults, what is
 * checked, --help and docs/worker-settings.md (`rotor worker --help=markdown` prints it anew).
 *
 * OPTION(id, name, field = value...): name in small letters, words joined by _; SAME() is a default of
 * all profiles, EACH() one each of dev, staging, prod; without either the default is empty. Numbers
 * and durations have bounds, in their unit or in milliseconds. A setting with reload follows a SIGHUP,
 * and may be no text. The order is that of the pages. No setting may hold a secret: name a file.
 */

/* clang-format off */

OPTION(PROFILE, "profile", .kind = OPTION_CHOICE, SAME("prod"), .choices = "dev|staging|prod",
	   .about = "Which defaults apply to what is not set.")
OPTION(CONFIG, "config", .kind = OPTION_FILE, SAME("/etc/rotor/rotor.conf"),
	   .about = "The file with settings. It may be missing unless it is named.")

OPTION(CONTROL_HOST, "control_host", .kind = OPTION_TEXT, SAME("/var/run/postgresql"),
	   .about = "Where the control database is: a name, an address or the folder of a socket; of "
				"several, joined by commas, the one that takes writes is chosen.")
OPTION(CONTROL_PORT, "control_port", .kind = OPTION_TEXT, SAME("5432"),
	   .check = option_check_ports,
	   .about = "Its port: one for all hosts, or one each, joined by commas.")
OPTION(CONTROL_DBNAME, "control_dbname", .kind = OPTION_TEXT, SAME("postgres"),
	   .about = "The database that has the extension rotor.")
OPTION(CONTROL_USER, "control_user", .kind = OPTION_TEXT, SAME("rotor_worker"),
	   .about = "This program's own role there.")
OPTION(CONTROL_SSLMODE, "control_sslmode", .kind = OPTION_TEXT, .check = option_check_sslmode,
	   .about = "disable, require, verify-ca or verify-full; empty: verify-full, and disable on "
				"loopback and sockets.")
OPTION(CONTROL_SSLROOTCERT, "control_sslrootcert", .kind = OPTION_FILE,
	   .about = "Certificates that vouch for the server's; empty: those of the system.")
OPTION(CONTROL_SSLCERT, "control_sslcert", .kind = OPTION_FILE,
	   .about = "This program's certificate, where the server wants one.")
OPTION(CONTROL_SSLKEY, "control_sslkey", .kind = OPTION_FILE,
	   .about = "The certificate's key.")
OPTION(PASSWORD_FILE, "password_file", .kind = OPTION_FILE,
	   .about = "A file of mode 0600 with the password for the control database and nothing else. "
				"It is read at each connection. Without it PGPASSWORD of the environment counts, "
				"which other processes of the same user can read.")
OPTION(OWN_SECRET, "own_secret", .kind = OPTION_TEXT,
	   .about = "The secret that holds the password of this program's own role. When it is rotated, "
				"password_file is written anew.")
OPTION(WORKER_NAME, "worker_name", .kind = OPTION_TEXT,
	   .about = "How this process is called in leases and logs. Default: the host's name and the "
				"process id.")

OPTION(CONCURRENCY, "concurrency", .kind = OPTION_INTEGER, SAME("8"), .least = 1, .most = 256,
	   .unit = "jobs",
	   .about = "How many jobs run at once.")
OPTION(PER_TARGET_LIMIT, "per_target_limit", .kind = OPTION_INTEGER, SAME("4"), .least = 1,
	   .most = 256, .unit = "jobs", .reload = true,
	   .about = "How many of them at one target, so that its connections are never exhausted.")
OPTION(CLAIM_BATCH, "claim_batch", .kind = OPTION_INTEGER, SAME("8"), .least = 1, .most = 256,
	   .unit = "jobs", .reload = true,
	   .about = "How many jobs are asked for at once, at most.")
OPTION(POLL_INTERVAL, "poll_interval", .kind = OPTION_DURATION, EACH("1s", "5s", "5s"),
	   .least = 100, .most = 3600000, .reload = true,
	   .about = "How often jobs are asked for when nothing was notified.")
/* At most half of what the main loop, which connects, may take for a turn before /healthz says 503. */
OPTION(CONNECT_TIMEOUT, "connect_timeout", .kind = OPTION_DURATION, SAME("5s"), .least = 100,
	   .most = 60000, .reload = true,
	   .about = "How long a connection may take to be made.")
OPTION(ACT_TIMEOUT, "act_timeout", .kind = OPTION_DURATION, SAME("20s"), .least = 1000,
	   .most = 3600000, .reload = true,
	   .about = "How long a job may take, if its lease does not end before.")
OPTION(SHUTDOWN_GRACE, "shutdown_grace", .kind = OPTION_DURATION, EACH("5s", "30s", "30s"),
	   .least = 0, .most = 3600000, .reload = true,
	   .about = "How long what runs may go on after SIGTERM.")

OPTION(BREAKER_FAILURES, "breaker_failures", .kind = OPTION_INTEGER, SAME("5"), .least = 1,
	   .most = 1000, .unit = "failures", .reload = true,
	   .about = "After how many failures in succession a target or a store is left alone for a "
				"while.")
OPTION(BREAKER_PAUSE, "breaker_pause", .kind = OPTION_DURATION, EACH("5s", "30s", "30s"),
	   .least = 100, .most = 3600000, .reload = true,
	   .about = "For how long, at first; it doubles with each probe that fails, up to ten times as "
				"long.")
OPTION(STORE_RATE, "store_rate", .kind = OPTION_INTEGER, SAME("20"), .least = 1, .most = 10000,
	   .unit = "calls a second", .reload = true,
	   .about = "How many jobs a second are begun at one store.")

OPTION(VAULT_TOKEN_FILE, "vault_token_file", .kind = OPTION_FILE,
	   .about =
		   "A file with a token for stores of type vault whose option auth is token. Without it "
		   "VAULT_TOKEN of the environment counts.")
OPTION(VAULT_ROLE_ID, "vault_role_id", .kind = OPTION_TEXT,
	   .about = "The role id, for stores of type vault whose option auth is approle.")
OPTION(VAULT_SECRET_ID_FILE, "vault_secret_id_file", .kind = OPTION_FILE,
	   .about = "A file with the secret id that belongs to vault_role_id.")
OPTION(VAULT_JWT_FILE, "vault_jwt_file", .kind = OPTION_FILE,
	   SAME("/var/run/secrets/kubernetes.io/serviceaccount/token"),
	   .about =
		   "A file with the token of a Kubernetes service account, for stores of type vault whose "
		   "option auth is kubernetes.")

OPTION(ALLOW_HTTP, "allow_http", .kind = OPTION_BOOLEAN, SAME("off"),
	   .about = "Whether plain http may be used for hosts that are not this one.")
OPTION(ALLOW_COMMANDS, "allow_commands", .kind = OPTION_BOOLEAN, SAME("off"),
	   .about = "Whether targets of type command are served: their programs, which superusers of "
				"the control database choose, run here as this program's user.")
OPTION(MLOCK, "mlock", .kind = OPTION_BOOLEAN, SAME("off"),
	   .about = "Whether all memory is kept out of swap. It needs a limit of locked memory that "
				"allows it.")

OPTION(METRICS_LISTEN, "metrics_listen", .kind = OPTION_TEXT, SAME(HTTP_SERVER_LISTEN),
	   .check = option_check_listen,
	   .about = "Address and port for /metrics, /healthz and /readyz; off: none.")
OPTION(LOG_LEVEL, "log_level", .kind = OPTION_CHOICE, EACH("debug", "info", "info"),
	   .choices = "debug|info|warning|error", .reload = true,
	   .about = "The least that is logged.")
OPTION(LOG_FORMAT, "log_format", .kind = OPTION_CHOICE, EACH("auto", "json", "json"),
	   .choices = "auto|json|text",
	   .about = "How events are written; auto is text on a terminal and json elsewhere.")
