/*
 * functions_health.c - health(): one row a finding, with its remedy.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "commands/dbcommands.h"
#include "clock.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "functions.h"
#include "guc.h"
#include "hba.h"
#include "keyring.h"
#include "master_key_file.h"
#include "report.h"
#include "request.h"
#include "route.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/memutils.h"
#include "watch.h"
#include "access/xact.h"

ROTOR_FUNCTION(rotor_health);

/* Where findings go. */
typedef struct Findings
{
	Tuplestorestate *store;
	TupleDesc desc;
} Findings;

static void
finding(const Findings *findings, const char *name, const char *status, const char *detail,
		const char *hint)
{
	Datum values[] = {CStringGetTextDatum(name), CStringGetTextDatum(status),
					  CStringGetTextDatum(detail), hint ? CStringGetTextDatum(hint) : (Datum) 0};
	bool nulls[] = {false, false, false, hint == NULL};

	tuplestore_putvalues(findings->store, findings->desc, values, nulls);
}

/* False if nothing else can be looked at. */
static bool
check_version(const Findings *findings)
{
	char *version;

	if (catalog_state(&version) == CATALOG_OTHER_VERSION)
	{
		finding(findings, "version", "error",
				psprintf("the extension has version %s, the library %s: nothing is done until they "
						 "agree",
						 version, ROTOR_VERSION),
				catalog_version_remedy(version));
		return false;
	}
	finding(findings, "version", "ok", ROTOR_VERSION, NULL);
	return true;
}

static void
check_preload(const Findings *findings)
{
	if (request_is_preloaded())
		finding(findings, "preload", "ok", "rotor is in shared_preload_libraries", NULL);
	else
		finding(findings, "preload", "warning",
				"rotor is not preloaded: nothing is rotated on schedule by itself",
				"Add rotor to shared_preload_libraries and restart, or have cron or pg_cron call "
				"rotor.run_due().");
}

static void
check_workers(const Findings *findings)
{
	int count = request_worker_count();

	if (!request_is_preloaded())
		return;
	if (RecoveryInProgress())
		finding(findings, "workers", "ok", "a standby has no workers; they start at promotion",
				NULL);
	else if (strcmp(rotor_database, get_database_name(MyDatabaseId)) != 0)
		finding(findings, "workers", "error",
				psprintf("the workers serve database \"%s\"", rotor_database),
				psprintf("Set rotor.database = '%s' and reload.", get_database_name(MyDatabaseId)));
	else if (count == 0)
		finding(findings, "workers", "error", "no worker is running",
				rotor_workers == 0
					? "Set rotor.workers to 1 or more and restart."
					: "Look into the server log; raise max_worker_processes if it is exhausted.");
	else if (count < rotor_workers)
		finding(findings, "workers", "warning", psprintf("%d of %d running", count, rotor_workers),
				"Look into the server log; raise max_worker_processes if it is exhausted.");
	else
		finding(findings, "workers", "ok", psprintf("%d of %d running", count, rotor_workers),
				NULL);
}

/* Are changes that others make to managed roles known at once? */
static void
check_watch(const Findings *findings)
{
	WatchReport report;

	if (!watch_is_on() || RecoveryInProgress())
		return;
	watch_report(&report);
	if (report.full)
		finding(findings, "watched_roles", "warning",
				psprintf("there are more managed roles than rotor.max_watched_roles, %d",
						 rotor_max_watched_roles),
				"Raise it and restart: changes of the others are found, but neither refused nor "
				"warned of.");
	else if (!report.complete)
		finding(findings, "watched_roles", "ok", "no worker has read the managed roles yet", NULL);
	else
		finding(findings, "watched_roles", "ok",
				psprintf("watched: %d, changes to see to: %d%s", report.roles, report.waiting,
						 report.lost == 0 ? ""
										  : psprintf(", found later by a comparison: " INT64_FORMAT,
													 report.lost)),
				NULL);
}

/* Unwraps every data key by its master key, as a read would. */
static int
prove_keys(void)
{
	uint64 count;

	count = catalog_execute("SELECT id FROM rotor.data_key", 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		bool null;
		pg_uuid_t id =
			*DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
		DataKeyRow row;

		if (catalog_find_data_key(&id, &row))
			keyring_prove(&row);
	}
	return (int) count;
}

/* In a subtransaction: a missing key is a finding, not an error. */
static void
check_keys(const Findings *findings)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Failure failure = {0};
	volatile int count = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		count = prove_keys();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		failure_catch(&failure, NULL);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (failure.sqlstate != 0)
		finding(findings, "key", "error",
				psprintf("%s%s%s", failure.message, failure.detail[0] ? ": " : "", failure.detail),
				failure.hint[0] ? failure.hint : NULL);
	else if (count == 0)
		finding(findings, "key", "ok", "there is no data key yet; the first rotation makes one",
				NULL);
	else
		finding(findings, "key", "ok", psprintf("data keys that open: %d", count), NULL);
}

static void
check_key_file(const Findings *findings)
{
	char *path = master_key_file_path();
	char real_path[PATH_MAX];
	char real_data[PATH_MAX];
	size_t len;

	if (rotor_key_command[0] != '\0' || realpath(path, real_path) == NULL ||
		realpath(DataDir, real_data) == NULL)
		return;
	len = strlen(real_data);
	if (strncmp(real_path, real_data, len) == 0 && real_path[len] == '/')
		finding(findings, "key_file", "warning",
				psprintf("the key file \"%s\" is inside the data directory", path),
				"Every base backup carries it next to what it protects. Move it elsewhere, set "
				"rotor.key_file, reload, and keep a copy.");
	else
		finding(findings, "key_file", "ok", "the key file is outside the data directory", NULL);
}

typedef struct ManagedRole
{
	char name[NAMEDATALEN];
	char secret[SECRET_NAME_SIZE];
	bool verifier_suffices;
	char dbname[NAMEDATALEN];
} ManagedRole;

/* True if a login can prove the role's password. */
static bool
check_route(const Findings *findings, const ManagedRole *role)
{
	Route route;

	route_choose(role->dbname, role->name, &route);
	if (route.answer.proof == HBA_PROOF_PASSWORD)
		return true;
	finding(findings, "pg_hba", role->verifier_suffices ? "warning" : "error",
			psprintf("secret \"%s\", role \"%s\": %s", role->secret, role->name,
					 route.answer.proof == HBA_PROOF_UNKNOWN ? "pg_hba.conf could not be read."
															 : route_complaint(&route)),
			role->verifier_suffices
				? "Its policy accepts a check without a login; a login would prove more."
				: "Let that line say scram-sha-256 and reload, or set verification = 'verifier' in "
				  "its policy.");
	return false;
}

static void
check_pg_hba(const Findings *findings)
{
	uint64 count;
	uint64 good = 0;
	ManagedRole *roles;

	hba_forget();
	count = catalog_execute(
		"SELECT a.rolname::text, s.name, p.verification = 'verifier', "
		"coalesce(p.verify_database, current_database()) FROM rotor.secret s "
		"JOIN rotor.policy p ON p.name = s.policy "
		"JOIN rotor.secrets v ON v.secret = s.name AND v.state NOT IN ('other_cluster', "
		"'no_role') JOIN pg_catalog.pg_authid a ON a.oid = s.role_oid "
		"WHERE s.deleted_at IS NULL ORDER BY s.name",
		0, NULL, NULL, NULL);
	roles = palloc(Max(count, 1) * sizeof(ManagedRole));
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool null;

		strlcpy(roles[i].name, SPI_getvalue(tuple, desc, 1), sizeof(roles[i].name));
		strlcpy(roles[i].secret, SPI_getvalue(tuple, desc, 2), sizeof(roles[i].secret));
		roles[i].verifier_suffices = DatumGetBool(SPI_getbinval(tuple, desc, 3, &null));
		strlcpy(roles[i].dbname, SPI_getvalue(tuple, desc, 4), sizeof(roles[i].dbname));
	}
	for (uint64 i = 0; i < count; i++)
		good += check_route(findings, &roles[i]);
	if (good == count)
		finding(findings, "pg_hba", "ok", "every managed role can be proved by a login", NULL);
}

/* A count that should be zero. */
static void
check_count(const Findings *findings, const char *name, const char *status, const char *query,
			const char *what, const char *hint)
{
	bool null;
	int64 count = DatumGetInt64(catalog_datum(query, 0, NULL, NULL, &null));

	if (count > 0)
		finding(findings, name, status, psprintf("%s: " INT64_FORMAT, what, count), hint);
	else
		finding(findings, name, "ok", "none", NULL);
}

/* A clock that was set for a test, and forgotten, lets nothing fall due. */
static void
check_clock(const Findings *findings)
{
	if (clock_is_set())
		finding(findings, "clock", "error",
				psprintf("schedules stand still at %s", timestamptz_to_str(clock_now())),
				"It was set for a test: remove rotor.test_clock from the configuration.");
	else
		finding(findings, "clock", "ok", "schedules go by the system's clock", NULL);
}

static void
check_rotations(const Findings *findings)
{
	check_count(findings, "overdue", "warning",
				"SELECT count(*) FROM rotor.upcoming WHERE due_at < " CLOCK_SQL
				" - interval '1 minute'",
				"rotations overdue by more than a minute",
				"See rotor.upcoming; is a worker running, or rotor.run_due() being called?");
	check_count(findings, "dead_letters", "error", "SELECT count(*) FROM rotor.dead_letter",
				"rotations that gave up",
				"See rotor.dead_letter; rotor.requeue() takes one up again.");
	check_count(
		findings, "quarantined", "warning",
		"SELECT count(*) FROM rotor.secrets WHERE enabled AND quarantined_until IS NOT NULL",
		"secrets whose schedule pauses, because their rotations failed",
		"See rotor.secrets and rotor.dead_letter; rotor.requeue() or rotor.rotate() ends it.");
	check_count(findings, "without_owner", "warning",
				"SELECT count(*) FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id "
				"WHERE r.status IN ('in_progress', 'verifying') "
				"AND r.next_attempt_at < " CLOCK_SQL
				" - interval '1 minute' AND s.system_identifier = "
				"(SELECT c.system_identifier FROM pg_catalog.pg_control_system() c) AND NOT EXISTS "
				"(SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'object' "
				"AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass "
				"AND l.objid = s.role_oid)",
				"unfinished rotations that nobody is at",
				"A worker takes them up; rotor.run_due() does it now.");
	check_count(findings, "dropped_roles", "warning",
				"SELECT count(*) FROM rotor.secrets WHERE state = 'no_role'",
				"secrets without a role", "See rotor.secrets; rotor.unmanage() ends them.");
	check_count(
		findings, "other_cluster", "error",
		psprintf("SELECT count(*) FROM rotor.secret WHERE deleted_at IS NULL "
				 "AND system_identifier <> " INT64_FORMAT,
				 (int64) GetSystemIdentifier()),
		"secrets of another cluster or of a dump, which are not rotated here",
		"rotor.reconcile() binds each to the role of its name here: after pg_upgrade, or where a dump "
		"was restored to stay.");
	check_count(findings, "changed_elsewhere", "warning",
				"SELECT count(*) FROM rotor.coverage WHERE managed AND in_sync = false",
				"managed roles without the verifier that rotor gave them",
				"See rotor.coverage; rotate them, so that rotor knows the password.");
}

/* What an auditor asks for; rotor.compliance has it by role. */
static void
check_compliance(const Findings *findings)
{
	check_count(findings, "expired", "error",
				"SELECT count(*) FROM rotor.compliance "
				"WHERE finding = 'expired' AND secret IS NOT NULL",
				"managed roles whose VALID UNTIL has passed",
				"See rotor.compliance, which has the statement that mends each.");
	check_count(findings, "expires_soon", "warning",
				"SELECT count(*) FROM rotor.compliance "
				"WHERE finding = 'expires_soon' AND secret IS NOT NULL",
				"managed roles whose VALID UNTIL passes within a week, before a rotation moves it",
				"See rotor.compliance, which has the statement that mends each.");
	check_count(findings, "never_verified", "warning",
				"SELECT count(*) FROM rotor.compliance WHERE finding = 'never_verified'",
				"secrets whose current password was never proved",
				"See rotor.compliance and rotor.dead_letter; requeue or rotate them.");
	check_count(findings, "md5_passwords", "warning",
				"SELECT count(*) FROM rotor.coverage WHERE password_type = 'md5'",
				"login roles with an MD5 password",
				"See rotor.coverage; a rotation gives a role a SCRAM password.");
}

/* What workers do for the years. */
static void
check_upkeep(const Findings *findings)
{
	check_count(findings, "audit_partitions", "warning",
				"SELECT count(*) FROM generate_series(0, 1) m(n) WHERE NOT EXISTS (SELECT FROM "
				"pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE "
				"i.inhparent = 'rotor.audit'::regclass AND c.relname = 'audit_' || to_char((now() "
				"AT TIME ZONE 'UTC') + m.n * interval '1 month', 'YYYY_MM'))",
				"months, this one and the next, without a partition of the audit",
				"Their rows go to rotor.audit_default. Maintenance makes partitions; "
				"rotor.make_audit_partitions() does it now.");
	if (!RecoveryInProgress() && rotor_maintenance_interval > 0)
		check_count(findings, "maintenance", "warning",
					psprintf("SELECT count(*) FROM rotor.home WHERE coalesce(maintained_at, "
							 "(SELECT min(created_at) FROM rotor.secret)) < now() - interval '1 "
							 "hour' - 2 * %d * interval '1 second' AND EXISTS (SELECT FROM "
							 "rotor.secret)",
							 rotor_maintenance_interval),
					"maintenance is late; nothing is purged",
					"Is a worker running, or rotor.run_due() being called? See the server log.");
}

Datum
rotor_health(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Findings findings;
	AccessScope scope;

	InitMaterializedSRF(fcinfo, 0);
	findings.store = set->setResult;
	findings.desc = set->setDesc;
	if (!check_version(&findings))
		return (Datum) 0;
	access_enter(&scope);
	check_preload(&findings);
	check_workers(&findings);
	check_watch(&findings);
	check_keys(&findings);
	check_key_file(&findings);
	check_pg_hba(&findings);
	check_clock(&findings);
	check_rotations(&findings);
	check_compliance(&findings);
	check_upkeep(&findings);
	access_leave(&scope);
	return (Datum) 0;
}
