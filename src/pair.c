/*
 * pair.c - see pair.h.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog_read.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "compat.h"
#include "executor/spi.h"
#include "pair.h"
#include "report.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Runs a statement on one secret and, unless it is DT_NOBEGIN, a time; how many rows it changed. */
static uint64
change(const char *sql, int64 secret_id, TimestampTz at)
{
	Oid types[] = {INT8OID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(secret_id), TimestampTzGetDatum(at)};
	char nulls[] = {' ', TIMESTAMP_IS_NOEND(at) ? 'n' : ' '};

	return catalog_execute(sql, TIMESTAMP_IS_NOBEGIN(at) ? 1 : 2, types, values, nulls);
}

/* The rows of pg_db_role_setting that the role should have, as a query on $1: the owner, $2: the role. */
#define WANTED_SETTINGS                                                                        \
	"SELECT d.setdatabase, $2 AS setrole, ARRAY(SELECT e FROM unnest(s.setconfig) e "          \
	"WHERE split_part(e, '=', 1) <> 'role') || CASE WHEN d.setdatabase = 0 "                   \
	"THEN ARRAY['role=' || o.rolname] ELSE '{}' END AS setconfig FROM pg_catalog.pg_authid o " \
	"CROSS JOIN (SELECT 0::oid AS setdatabase UNION SELECT setdatabase "                       \
	"FROM pg_catalog.pg_db_role_setting WHERE setrole = $1) d "                                \
	"LEFT JOIN pg_catalog.pg_db_role_setting s ON s.setdatabase = d.setdatabase "              \
	"AND s.setrole = $1 WHERE o.oid = $1"

#define PRESENT_SETTINGS \
	"SELECT setdatabase, setrole, setconfig FROM pg_catalog.pg_db_role_setting WHERE setrole = $2"

/* The owner's settings become the role's; nothing is written if they are that already. */
static void
copy_settings(Oid owner, Oid role)
{
	Oid types[] = {OIDOID, OIDOID};
	Datum values[] = {ObjectIdGetDatum(owner), ObjectIdGetDatum(role)};

	if (catalog_execute("(" WANTED_SETTINGS " EXCEPT " PRESENT_SETTINGS ") UNION ALL "
						"(" PRESENT_SETTINGS " EXCEPT " WANTED_SETTINGS ")",
						2, types, values, NULL) == 0)
		return;
	(void) catalog_execute("DELETE FROM pg_catalog.pg_db_role_setting WHERE setrole = $2 "
						   "AND $1 IS NOT NULL",
						   2, types, values, NULL);
	(void) catalog_execute("INSERT INTO pg_catalog.pg_db_role_setting "
						   "SELECT * FROM (" WANTED_SETTINGS ") w WHERE w.setconfig <> '{}'",
						   2, types, values, NULL);
}

bool
pair_carry_over(int64 secret_id, Oid role, Failure *failure)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(secret_id)};
	bool null;
	Datum owner = catalog_datum("SELECT owner_oid FROM rotor.pair WHERE $1 IN (in_use, resting)", 1,
								types, values, &null);
	char *name;

	if (null)
		return true;
	name = GetUserNameFromId(DatumGetObjectId(owner), true);
	if (name == NULL)
		failure_set(failure, ERRCODE_UNDEFINED_OBJECT, "the owner of the two roles was dropped",
					"They are used in turn, and log in as their owner.",
					"Unmanage the pair, and manage it anew with another owner.");
	else if (!compat_may_become(role, DatumGetObjectId(owner)))
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					psprintf("role \"%s\" is no member of role \"%s\"",
							 GetUserNameFromId(role, false), name),
					"Of two roles that are used in turn each logs in as their owner.",
					psprintf("GRANT %s TO %s" COMPAT_WITH_SET, quote_identifier(name),
							 quote_identifier(GetUserNameFromId(role, false))));
	else
	{
		copy_settings(DatumGetObjectId(owner), role);
		return true;
	}
	return false;
}

void
pair_take_turns(int64 secret_id, TimestampTz retire_at, const pg_uuid_t *emergency)
{
	Oid types[] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID};
	Datum values[] = {Int64GetDatum(secret_id), TimestampTzGetDatum(retire_at),
					  TimestampTzGetDatum(clock_now()),
					  emergency ? UUIDPGetDatum(emergency) : (Datum) 0};
	char nulls[] = {' ', ' ', ' ', emergency ? ' ' : 'n'};

	/* In an emergency both may come here at once. */
	(void) change("SELECT FROM rotor.pair WHERE $1 IN (in_use, resting) FOR UPDATE", secret_id,
				  DT_NOBEGIN);
	if (change("UPDATE rotor.pair SET in_use = resting, resting = in_use, "
			   "used_since = clock_timestamp() WHERE resting = $1",
			   secret_id, DT_NOBEGIN) == 0)
		return;
	catalog_plan_retirement(secret_id, DT_NOEND);
	/* Of roles outside that never had a password of ours nobody logs in with one. */
	(void) catalog_execute(
		"UPDATE rotor.secret s SET retire_at = CASE WHEN v.set_at < e.started_at THEN $3 ELSE $2 END "
		"FROM rotor.pair p LEFT JOIN rotor.version v ON v.secret_id = p.resting "
		"AND v.stage = 'current' LEFT JOIN rotor.emergency e ON e.id = $4 "
		"WHERE p.in_use = $1 AND s.id = p.resting AND (v.id IS NOT NULL OR EXISTS "
		"(SELECT FROM pg_catalog.pg_authid a WHERE a.oid = s.role_oid AND a.rolcanlogin))",
		4, types, values, nulls);
}

void
pair_plan(int64 secret_id, TimestampTz next_rotation)
{
	(void) change("UPDATE rotor.secret SET next_rotation = $2 "
				  "WHERE id = (SELECT resting FROM rotor.pair WHERE in_use = $1)",
				  secret_id, next_rotation);
}

void
pair_lock_again(int64 secret_id)
{
	if (catalog_is_resting(secret_id))
		(void) change("UPDATE rotor.secret SET retire_at = $2 WHERE id = $1 AND retire_at IS NULL",
					  secret_id, clock_now());
}

void
pair_lock_out(int64 secret_id)
{
	if (catalog_is_resting(secret_id))
		catalog_plan_retirement(secret_id, clock_now());
}

bool
pair_ends_sessions(int64 secret_id)
{
	return change(
			   "SELECT FROM (SELECT r.terminate_sessions FROM rotor.rotation r JOIN rotor.pair p "
			   "ON p.in_use = r.secret_id WHERE p.resting = $1 AND r.status = 'success' "
			   "ORDER BY r.finished_at DESC LIMIT 1) l WHERE l.terminate_sessions",
			   secret_id, DT_NOBEGIN) > 0;
}

bool
pair_other_logs_in(int64 secret_id)
{
	return change("SELECT FROM rotor.pair p JOIN rotor.secret s ON s.id = p.in_use "
				  "JOIN pg_catalog.pg_authid a ON a.oid = s.role_oid "
				  "JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current' "
				  "WHERE p.resting = $1 AND a.rolcanlogin "
				  "AND v.fingerprint = sha256(convert_to(a.rolpassword, 'UTF8'))",
				  secret_id, DT_NOBEGIN) > 0;
}
