/*
 * retention.c - see retention.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "grants.h"
#include "guc.h"
#include "lib/stringinfo.h"
#include "retention.h"
#include "utils/builtins.h"

#define MONTHS_AHEAD 2
#define ACTIVE		 "('pending', 'in_progress', 'verifying')"

/* $1: seconds of rotor.recovery_window. What reconcile() has not seen may be half restored. */
#define OLD_SECRETS                                                                                 \
	"SELECT s.id FROM rotor.secret s WHERE s.deleted_at < now() - $1 * interval '1 second' AND "    \
	"s.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c) "     \
	"AND NOT EXISTS (SELECT FROM rotor.rotation r WHERE r.secret_id = s.id AND r.status IN " ACTIVE \
	")"

/*
 * $1: this cluster. The first sub-select lets the index find what is old by any policy; NOT IN asks
 * once which versions are needed, by partial indexes, where NOT EXISTS would ask for each.
 */
#define OLD_VERSIONS                                                                                    \
	"SELECT v.id FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id "                       \
	"JOIN rotor.policy p ON p.name = s.policy WHERE v.stage IS NULL AND "                               \
	"v.retired_at < (SELECT now() - min(m.version_retention) FROM rotor.policy m) AND "                 \
	"v.retired_at < now() - p.version_retention AND s.system_identifier = $1 AND v.id NOT IN ("         \
	"SELECT r.version_id FROM rotor.rotation r WHERE r.status IN " ACTIVE                               \
	" AND r.version_id IS NOT NULL UNION ALL "                                                          \
	"SELECT r.version_id FROM rotor.rotation r WHERE r.dead_letter AND r.version_id IS NOT NULL "       \
	"UNION ALL SELECT k.former_current FROM rotor.saved_verifier k WHERE k.former_current IS NOT NULL " \
	"UNION ALL SELECT k.former_previous FROM rotor.saved_verifier k "                                   \
	"WHERE k.former_previous IS NOT NULL) AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid a "          \
	"WHERE a.oid = s.role_oid AND v.fingerprint = sha256(convert_to(a.rolpassword, 'UTF8')))"

/* The newest of each secret stays, whatever its age: the views show it. $1: this cluster. */
#define OLD_ROTATIONS                                                                       \
	"SELECT r.id FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id "          \
	"JOIN rotor.policy p ON p.name = s.policy WHERE "                                       \
	"r.finished_at < (SELECT now() - min(m.rotation_retention) FROM rotor.policy m) AND "   \
	"r.finished_at < now() - p.rotation_retention AND s.system_identifier = $1 AND "        \
	"NOT r.dead_letter AND r.status NOT IN " ACTIVE " AND "                                 \
	"EXISTS (SELECT FROM rotor.rotation n WHERE n.secret_id = r.secret_id AND n.queued_at " \
	"> r.queued_at) AND NOT EXISTS (SELECT FROM rotor.saved_verifier k WHERE k.rotation_id = r.id)"

/* $1: seconds of rotor.audit_retention. */
#define OLD_PARTITIONS                                                                        \
	"SELECT c.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = "   \
	"i.inhrelid WHERE i.inhparent = 'rotor.audit'::regclass AND c.relname ~ "                 \
	"'^audit_[0-9]{4}_[0-9]{2}$' AND $1 > 0 AND (to_date(substr(c.relname, 7), 'YYYY_MM') + " \
	"interval '1 month') AT TIME ZONE 'UTC' <= now() - $1 * interval '1 second' ORDER BY c.relname"
#define OLD_ROWS                                          \
	"SELECT d.at, d.id FROM rotor.audit_default d WHERE " \
	"$1 > 0 AND d.at < now() - $1 * interval '1 second'"

static const struct
{
	const char *name;
	const char *candidates;
	const char *remove; /* with the candidates in place of %s; $2: at most how many */
} kinds[RETENTION_KIND_COUNT] = {
	[RETENTION_SECRETS] = {"secrets", OLD_SECRETS, NULL},
	[RETENTION_VERSIONS] = {"versions", OLD_VERSIONS,
							"DELETE FROM rotor.version WHERE id IN (%s LIMIT $2)"},
	[RETENTION_ROTATIONS] = {"rotations", OLD_ROTATIONS,
							 "DELETE FROM rotor.rotation WHERE id IN (%s LIMIT $2)"},
	[RETENTION_AUDIT_PARTITIONS] = {"audit_partitions", OLD_PARTITIONS, NULL},
	[RETENTION_AUDIT_ROWS] = {"audit_rows", OLD_ROWS,
							  "DELETE FROM rotor.audit_default WHERE (at, id) IN (%s LIMIT $2)"},
};

static bool removing;

bool
retention_is_removing(void)
{
	return removing;
}

const char *
retention_kind_name(RetentionKind kind)
{
	return kinds[kind].name;
}

/* What $1 of the candidates stands for. */
static Datum
bound_of(RetentionKind kind)
{
	switch (kind)
	{
		case RETENTION_SECRETS:
			return Int64GetDatum(rotor_recovery_window);
		case RETENTION_VERSIONS:
		case RETENTION_ROTATIONS:
			return Int64GetDatum((int64) GetSystemIdentifier());
		default:
			return Int64GetDatum(rotor_audit_retention);
	}
}

static uint64
execute(const char *sql, int nargs, Datum *values)
{
	Oid types[] = {INT8OID, INT8OID};

	return catalog_execute(sql, nargs, types, values, NULL);
}

int64
retention_count(RetentionKind kind)
{
	Oid types[] = {INT8OID};
	Datum values[] = {bound_of(kind)};
	bool null;

	return DatumGetInt64(catalog_datum(
		psprintf("SELECT count(*) FROM (%s) c", kinds[kind].candidates), 1, types, values, &null));
}

/* First column of the last result, row by row; they outlive SPI's next statement. */
static Datum *
first_column(uint64 count)
{
	Datum *column = palloc(Max(count, 1) * sizeof(Datum));
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, 0);
	bool null;

	for (uint64 i = 0; i < count; i++)
		column[i] =
			SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null),
							  attribute->attbyval, attribute->attlen);
	return column;
}

/* All rights on a secret go, and what came with them. */
static void
take_all_rights(int64 secret_id)
{
	Datum values[] = {Int64GetDatum(secret_id)};
	uint64 count = execute("SELECT role_oid, privilege FROM rotor.access_grant "
						   "WHERE secret_id = $1",
						   1, values);
	Oid *roles = palloc(Max(count, 1) * sizeof(Oid));
	Privilege *privileges = palloc(Max(count, 1) * sizeof(Privilege));
	bool null;

	for (uint64 i = 0; i < count; i++)
	{
		roles[i] =
			DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
		privileges[i] =
			access_privilege_of(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	}
	for (uint64 i = 0; i < count; i++)
		(void) grants_take(secret_id, roles[i], privileges[i]);
}

static int64
remove_secrets(int64 limit)
{
	Datum values[] = {bound_of(RETENTION_SECRETS), Int64GetDatum(limit)};
	uint64 count = execute(OLD_SECRETS " LIMIT $2 FOR UPDATE SKIP LOCKED", 2, values);
	Datum *ids = first_column(count);

	for (uint64 i = 0; i < count; i++)
	{
		take_all_rights(DatumGetInt64(ids[i]));
		execute("DELETE FROM rotor.saved_verifier WHERE rotation_id IN "
				"(SELECT id FROM rotor.rotation WHERE secret_id = $1)",
				1, &ids[i]);
		execute("DELETE FROM rotor.rotation WHERE secret_id = $1", 1, &ids[i]);
		execute("DELETE FROM rotor.version WHERE secret_id = $1", 1, &ids[i]);
		execute("DELETE FROM rotor.secret WHERE id = $1", 1, &ids[i]);
	}
	return (int64) count;
}

static int64
remove_partitions(int64 limit)
{
	Datum values[] = {bound_of(RETENTION_AUDIT_PARTITIONS), Int64GetDatum(limit)};
	uint64 count = execute(OLD_PARTITIONS " LIMIT $2", 2, values);
	Datum *names = first_column(count);

	for (uint64 i = 0; i < count; i++)
	{
		const char *name = quote_identifier(NameStr(*DatumGetName(names[i])));

		execute(psprintf("ALTER EXTENSION rotor DROP TABLE rotor.%s", name), 0, NULL);
		execute(psprintf("DROP TABLE rotor.%s", name), 0, NULL);
	}
	return (int64) count;
}

int64
retention_remove(RetentionKind kind, int64 limit)
{
	Datum values[] = {bound_of(kind), Int64GetDatum(limit)};
	char *sql;
	int64 count = 0;

	if (kind == RETENTION_SECRETS)
		return remove_secrets(limit);
	if (kind == RETENTION_AUDIT_PARTITIONS)
		return remove_partitions(limit);
	/* The text is one of ours, with one %s. */
	sql =
		psprintf("%.*s%s%s", (int) (strstr(kinds[kind].remove, "%s") - kinds[kind].remove),
				 kinds[kind].remove, kinds[kind].candidates, strstr(kinds[kind].remove, "%s") + 2);
	removing = true;
	PG_TRY();
	{
		count = (int64) execute(sql, 2, values);
	}
	PG_FINALLY();
	{
		removing = false;
	}
	PG_END_TRY();
	return count;
}

char *
retention_detail(const int64 counts[RETENTION_KIND_COUNT])
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < RETENTION_KIND_COUNT; i++)
	{
		if (counts[i] > 0)
			appendStringInfo(&json, "%c\"%s\":" INT64_FORMAT, json.len == 0 ? '{' : ',',
							 kinds[i].name, counts[i]);
	}
	if (json.len == 0)
		return NULL;
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* --- partitions --- */

/* One text of a query on the month that is so many after this one. */
static char *
of_month(const char *query, int months)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(months)};
	bool null;
	Datum value = catalog_datum(query, 1, types, values, &null);

	return null ? NULL : TextDatumGetCString(value);
}

/* $1 months after the first of this one, by UTC. */
#define MONTH_START "(date_trunc('month', now() AT TIME ZONE 'UTC') + $1 * interval '1 month')"

/* A table that is ready to be a partition before it becomes one: attaching it locks little. */
static void
make_partition(const char *name, const char *from, const char *to)
{
	execute(psprintf("CREATE TABLE rotor.%s (LIKE rotor.audit INCLUDING DEFAULTS INCLUDING "
					 "COMMENTS)",
					 name),
			0, NULL);
	execute(psprintf("COMMENT ON TABLE rotor.%s IS 'one month of rotor.audit'", name), 0, NULL);
	execute(psprintf("REVOKE ALL ON rotor.%s FROM PUBLIC", name), 0, NULL);
	execute(psprintf("CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE OR TRUNCATE ON rotor.%s "
					 "FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_audit()",
					 name),
			0, NULL);
	execute(psprintf("ALTER TABLE rotor.%s ENABLE ALWAYS TRIGGER guard_change", name), 0, NULL);
	execute(psprintf("ALTER TABLE rotor.audit ATTACH PARTITION rotor.%s FOR VALUES FROM (%s) TO "
					 "(%s)",
					 name, quote_literal_cstr(from), quote_literal_cstr(to)),
			0, NULL);
	/* What the install script makes belongs to the extension by itself. */
	if (!creating_extension)
		execute(psprintf("ALTER EXTENSION rotor ADD TABLE rotor.%s", name), 0, NULL);
}

int
retention_make_partitions(void)
{
	int made = 0;

	for (int month = 0; month <= MONTHS_AHEAD; month++)
	{
		/* Null if there is such a table, or rows of that month are in the default partition. */
		char *name = of_month(
			"SELECT n FROM (SELECT 'audit_' || to_char(" MONTH_START ", 'YYYY_MM') AS n) m WHERE "
			"NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relname = m.n AND "
			"c.relnamespace = 'rotor'::regnamespace) AND NOT EXISTS (SELECT FROM "
			"rotor.audit_default d WHERE d.at >= " MONTH_START " AT TIME ZONE 'UTC' AND d.at < "
			"(" MONTH_START " + interval '1 month') AT TIME ZONE 'UTC')",
			month);

		if (name == NULL)
			continue;
		make_partition(
			name, of_month("SELECT to_char(" MONTH_START ", 'YYYY-MM-DD 00:00:00+00')", month),
			of_month("SELECT to_char(" MONTH_START ", 'YYYY-MM-DD 00:00:00+00')", month + 1));
		made++;
	}
	return made;
}
