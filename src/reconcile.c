/*
 * reconcile.c - see reconcile.h.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_read.h"
#include "clock.h"
#include "executor/spi.h"
#include "grants.h"
#include "lib/stringinfo.h"
#include "manage.h"
#include "miscadmin.h"
#include "pair.h"
#include "reconcile.h"
#include "role.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "watch.h"

static const struct
{
	const char *name;
	const char *remedy;
} findings[RECONCILE_FINDING_COUNT] = {
	[RECONCILE_OK] = {"ok", NULL},
	[RECONCILE_BOUND] = {"bound", NULL},
	[RECONCILE_RENAMED] = {"renamed", NULL},
	[RECONCILE_OUTSIDE] = {"outside", NULL},
	[RECONCILE_OUTSIDE_UNBOUND] = {"outside_unbound",
								   "It may be the other cluster's to rotate; rotor.manage() binds "
								   "it to this one."},
	[RECONCILE_ROTATING] = {"rotating", "Look again when it is over."},
	[RECONCILE_NO_VALUE] = {"no_value",
							"rotor.rotate() gives the role a password that rotor knows."},
	[RECONCILE_RELABELLED] = {"relabelled", NULL},
	[RECONCILE_HEALING] = {"healing", "A worker rotates it, as its policy asks for."},
	[RECONCILE_CHANGED_ELSEWHERE] = {"changed_elsewhere",
									 "rotor.rotate() gives the role a password that rotor knows."},
	[RECONCILE_ROLE_MISSING] = {"role_missing",
								"Make the role and call reconcile() again, name another one in "
								"rotor.manage(), or unmanage the secret."},
	[RECONCILE_ROLE_TAKEN] = {"role_taken", "Unmanage one of the two secrets."},
};

const char *
reconcile_name(ReconcileFinding finding)
{
	return findings[finding].name;
}

const char *
reconcile_remedy(ReconcileFinding finding)
{
	return findings[finding].remedy;
}

/* Tells of a right that nobody here can have. */
static void
report_lost_right(const Secret *secret, HeapTuple tuple, TupleDesc desc, const Actor *actor)
{
	char *role = SPI_getvalue(tuple, desc, 1);
	char *privilege = SPI_getvalue(tuple, desc, 2);

	catalog_audit_event(actor, "access_lost", secret->name, grants_detail(role, privilege));
	ereport(WARNING,
			(errmsg("role \"%s\" does not exist: its right \"%s\" on secret \"%s\" is gone", role,
					privilege, secret->name),
			 errhint("Make the role and call rotor.grant_access(), if it is wanted here.")));
}

static void
report_lost_rights(const Secret *secret, Datum rights, const Actor *actor)
{
	Oid types[] = {JSONBOID};
	SPITupleTable *lost;

	(void) catalog_execute(
		"SELECT o.role_name, o.privilege "
		"FROM jsonb_populate_recordset(NULL::rotor.access_grant, $1) o WHERE NOT EXISTS "
		"(SELECT FROM pg_catalog.pg_authid a WHERE a.rolname = o.role_name) ORDER BY 1, 2",
		1, types, &rights, NULL);
	lost = SPI_tuptable; /* outlives SPI's next statement */
	for (uint64 i = 0; i < lost->numvals; i++)
		report_lost_right(secret, lost->vals[i], lost->tupdesc, actor);
}

/* Rights are bound by the names of their roles: oids of another cluster mean strangers here. */
static void
bind_rights(const Secret *secret, const Actor *actor)
{
	Oid types[] = {INT8OID, JSONBOID};
	Datum values[] = {Int64GetDatum(secret->id), (Datum) 0};
	SPITupleTable *given;
	bool null;

	values[1] = catalog_datum("SELECT jsonb_agg(to_jsonb(g)) FROM rotor.access_grant g "
							  "WHERE g.secret_id = $1",
							  1, types, values, &null);
	if (null)
		return;
	/* All of them before the first new one: an oid of there may be another role's here. */
	(void) catalog_execute("DELETE FROM rotor.access_grant WHERE secret_id = $1", 1, types, values,
						   NULL);
	(void) catalog_execute(
		"INSERT INTO rotor.access_grant (secret_id, role_oid, privilege, granted_by, "
		"granted_at, gave_usage, gave_execute, role_name) "
		"SELECT $1, a.oid, o.privilege, o.granted_by, o.granted_at, o.gave_usage, "
		"o.gave_execute, o.role_name "
		"FROM jsonb_populate_recordset(NULL::rotor.access_grant, $2) o "
		"JOIN pg_catalog.pg_authid a ON a.rolname = o.role_name ON CONFLICT DO NOTHING "
		"RETURNING role_oid, privilege",
		2, types, values, NULL);
	given = SPI_tuptable;
	/* The rows are there; a dump without privileges has not brought USAGE and EXECUTE. */
	for (uint64 i = 0; i < given->numvals; i++)
		(void) grants_give(
			secret->id, DatumGetObjectId(SPI_getbinval(given->vals[i], given->tupdesc, 1, &null)),
			access_privilege_of(SPI_getvalue(given->vals[i], given->tupdesc, 2)), "");
	report_lost_rights(secret, values[1], actor);
}

/* The secret is that role's, of this cluster. */
static void
bind_role(int64 id, Oid role, const char *name)
{
	Oid types[] = {INT8OID, OIDOID, INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(id), ObjectIdGetDatum(role),
					  Int64GetDatum((int64) GetSystemIdentifier()), CStringGetTextDatum(name)};

	(void) catalog_execute(
		"UPDATE rotor.secret SET role_oid = $2, system_identifier = $3, username = $4, "
		"retire_at = CASE WHEN $2 <> 0 AND retire_at IS NOT NULL THEN greatest(retire_at, "
		"clock_timestamp() + (SELECT grace_period FROM rotor.policy p WHERE p.name = policy)) END "
		"WHERE id = $1",
		4, types, values, NULL);
	/*
	 * What was to be locked when the dump was made may be in use now: there is time to see to it, and
	 * the role in use is looked at before. Outside nobody can look. The owner goes by its name.
	 */
	(void) catalog_execute(
		"UPDATE rotor.pair p SET owner_oid = coalesce((SELECT a.oid FROM pg_catalog.pg_authid a "
		"WHERE a.rolname = p.owner), 0) WHERE $1 IN (p.in_use, p.resting) AND $2 <> 0",
		2, types, values, NULL);
}

void
reconcile_bind(Secret *secret, Oid role, const Actor *actor)
{
	bool foreign = secret->system_identifier != GetSystemIdentifier();

	if (!foreign)
		watch_role(secret->role, WATCH_NONE);
	secret->role = role;
	if (OidIsValid(role))
		strlcpy(secret->username, GetUserNameFromId(role, false), sizeof(secret->username));
	secret->system_identifier = GetSystemIdentifier();
	bind_role(secret->id, secret->role, secret->username);
	manage_watch(secret->id);
	if (foreign)
		bind_rights(secret, actor);
	catalog_audit_event(actor, "resolved", secret->name,
						manage_detail(secret->policy, secret->username));
}

/* True if the secret is bound now; else *why_not says what is in the way. */
static bool
bind_by_name(Secret *secret, const Actor *actor, ReconcileFinding *why_not)
{
	Oid role = get_role_oid(secret->username, true);
	Secret other;

	/* A right on the secret is none on a new role that has the old one's name. */
	if (!access_may_set_password(actor->role, role))
		role = InvalidOid;
	*why_not = OidIsValid(role) ? RECONCILE_ROLE_TAKEN : RECONCILE_ROLE_MISSING;
	if (!OidIsValid(role) || catalog_find_secret_of_role(role, &other))
		return false;
	reconcile_bind(secret, role, actor);
	return true;
}

/* Of two roles that log in as their owner the setting "role" has its name. */
static void
follow_owners(int64 id)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(id), Int64GetDatum((int64) GetSystemIdentifier())};
	SPITupleTable *members;
	Failure ignored;
	bool null;

	(void) catalog_execute(
		"WITH renamed AS (UPDATE rotor.pair p SET owner = a.rolname FROM rotor.secret s, "
		"pg_catalog.pg_authid a WHERE s.id = p.in_use AND s.system_identifier = $2 "
		"AND a.oid = p.owner_oid AND a.rolname <> p.owner AND $1 IN (0, p.in_use, p.resting) "
		"RETURNING p.in_use, p.resting) SELECT s.id, s.role_oid FROM renamed r "
		"JOIN rotor.secret s ON s.id IN (r.in_use, r.resting) "
		"JOIN pg_catalog.pg_authid a ON a.oid = s.role_oid WHERE s.deleted_at IS NULL",
		2, types, values, NULL);
	members = SPI_tuptable;
	/* If one is no member any more, its next rotation says so. */
	for (uint64 i = 0; i < members->numvals; i++)
		(void) pair_carry_over(
			DatumGetInt64(SPI_getbinval(members->vals[i], members->tupdesc, 1, &null)),
			DatumGetObjectId(SPI_getbinval(members->vals[i], members->tupdesc, 2, &null)),
			&ignored);
}

int64
reconcile_names(int64 id, const Actor *actor)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(id), Int64GetDatum((int64) GetSystemIdentifier())};
	SPITupleTable *renamed;

	(void) catalog_execute(
		"UPDATE rotor.access_grant g SET role_name = a.rolname FROM rotor.secret s, "
		"pg_catalog.pg_authid a WHERE s.id = g.secret_id AND s.system_identifier = $2 "
		"AND a.oid = g.role_oid AND a.rolname <> g.role_name AND $1 IN (0, s.id)",
		2, types, values, NULL);
	(void) catalog_execute(
		"UPDATE rotor.pair p SET owner_oid = a.oid FROM rotor.secret s, pg_catalog.pg_authid a "
		"WHERE s.id = p.in_use AND s.system_identifier = $2 AND s.role_oid <> 0 "
		"AND p.owner_oid = 0 AND a.rolname = p.owner AND $1 IN (0, p.in_use, p.resting)",
		2, types, values, NULL);
	follow_owners(id);
	(void) catalog_execute(
		"UPDATE rotor.secret s SET username = a.rolname FROM pg_catalog.pg_authid a "
		"WHERE a.oid = s.role_oid AND s.system_identifier = $2 AND a.rolname <> s.username "
		"AND $1 IN (0, s.id) RETURNING s.name, s.policy, s.username",
		2, types, values, NULL);
	renamed = SPI_tuptable;
	for (uint64 i = 0; i < renamed->numvals; i++)
	{
		HeapTuple tuple = renamed->vals[i];
		TupleDesc desc = renamed->tupdesc;

		catalog_audit_event(
			actor, "renamed", SPI_getvalue(tuple, desc, 1),
			manage_detail(SPI_getvalue(tuple, desc, 2), SPI_getvalue(tuple, desc, 3)));
	}
	return (int64) renamed->numvals;
}

void
reconcile_unmanaged(void)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum((int64) GetSystemIdentifier())};
	SPITupleTable *found;
	bool null;

	(void) catalog_execute(
		"SELECT s.id, s.username FROM rotor.secret s WHERE s.deleted_at IS NOT NULL "
		"AND s.system_identifier <> $1 AND s.role_oid <> 0 AND s.store = 'local' FOR UPDATE",
		1, types, values, NULL);
	found = SPI_tuptable;
	for (uint64 i = 0; i < found->numvals; i++)
	{
		char *name = SPI_getvalue(found->vals[i], found->tupdesc, 2);

		bind_role(DatumGetInt64(SPI_getbinval(found->vals[i], found->tupdesc, 1, &null)),
				  get_role_oid(name, true), name);
	}
}

/* --- the verifier --- */

/*
 * What the role's verifier says: no PBKDF2, a fingerprint is enough. Of a secret s, its current
 * version v and its role a, each of the latter NULL if there is none.
 */
#define FINDING                                                                       \
	"CASE WHEN s.role_oid = 0 THEN 'outside' WHEN a.oid IS NULL THEN 'role_missing' " \
	"WHEN EXISTS (SELECT FROM rotor.rotation r WHERE r.secret_id = s.id AND "         \
	"r.status IN ('pending', 'in_progress', 'verifying')) THEN 'rotating' "           \
	"WHEN v.id IS NULL THEN 'no_value' "                                              \
	"WHEN v.fingerprint = sha256(convert_to(a.rolpassword, 'UTF8')) THEN 'ok' "       \
	"ELSE 'changed_elsewhere' END"

static ReconcileFinding
finding_of(const char *name)
{
	for (int i = 0; i < RECONCILE_FINDING_COUNT; i++)
	{
		if (strcmp(name, findings[i].name) == 0)
			return (ReconcileFinding) i;
	}
	elog(ERROR, "unknown finding \"%s\"", name);
}

static ReconcileFinding
compare_verifier(int64 id)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	bool null;
	Datum found = catalog_datum(
		"SELECT " FINDING " FROM rotor.secret s "
		"LEFT JOIN pg_catalog.pg_authid a ON a.oid = s.role_oid "
		"LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current' WHERE s.id = $1",
		1, types, values, &null);

	return null ? RECONCILE_ROLE_MISSING : finding_of(TextDatumGetCString(found));
}

/* Runs a statement on one secret; how many rows it changed. */
static uint64
change(const char *sql, int64 id)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};

	return catalog_execute(sql, 1, types, values, NULL);
}

/* The version whose verifier the role has, if it is one that rotor still holds. */
static bool
version_of(const RoleState *role, int64 id, pg_uuid_t *version)
{
	Oid types[] = {INT8OID, BYTEAOID};
	Datum values[] = {Int64GetDatum(id), (Datum) 0};
	bytea *fingerprint = palloc(VARHDRSZ + FINGERPRINT_LEN);
	Datum found;
	bool null;

	SET_VARSIZE(fingerprint, VARHDRSZ + FINGERPRINT_LEN);
	role_fingerprint(role->verifier, (uint8_t *) VARDATA(fingerprint));
	values[1] = PointerGetDatum(fingerprint);
	found = catalog_datum("SELECT id FROM rotor.version WHERE secret_id = $1 AND fingerprint = $2 "
						  "AND stage IS DISTINCT FROM 'current' ORDER BY set_at DESC LIMIT 1",
						  2, types, values, &null);
	if (!null)
		*version = *DatumGetUUIDP(found);
	return !null;
}

/* The labels follow the role: a former verifier was set again, which a login has proved once. */
static void
relabel(const Secret *secret, const pg_uuid_t *version, const Actor *actor)
{
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(version)};
	AuditRow audit = {.actor = actor,
					  .event = "relabelled",
					  .secret = secret->name,
					  .version = version,
					  .result = "ok",
					  .duration_ms = -1};

	/* One label at a time: a stage is unique at every moment. */
	(void) change("UPDATE rotor.version SET stage = NULL, retired_at = clock_timestamp() "
				  "WHERE secret_id = $1 AND stage = 'previous'",
				  secret->id);
	(void) change("UPDATE rotor.version SET stage = 'previous', superseded_at = NULL "
				  "WHERE secret_id = $1 AND stage = 'current'",
				  secret->id);
	(void) catalog_execute("UPDATE rotor.version SET stage = 'current', retired_at = NULL, "
						   "superseded_at = NULL, set_at = clock_timestamp() WHERE id = $1",
						   1, types, values, NULL);
	catalog_audit(&audit);
}

/* Notes that somebody else set another password; has it rotated if the policy says so. */
static ReconcileFinding
note_drift(const Secret *secret, const Actor *actor)
{
	Oid types[] = {INT8OID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(secret->id), TimestampTzGetDatum(clock_now())};

	if (change("UPDATE rotor.version SET superseded_at = clock_timestamp() WHERE secret_id = $1 "
			   "AND stage = 'current' AND superseded_at IS NULL",
			   secret->id) > 0)
		catalog_audit_event(actor, "drift_found", secret->name,
							manage_detail(secret->policy, secret->username));
	/* Forward, to a value that nobody knows; by the schedule, which takes the role's lock. */
	return catalog_execute("UPDATE rotor.secret s SET next_rotation = least(s.next_rotation, $2) "
						   "FROM rotor.policy p WHERE p.name = s.policy AND s.id = $1 "
						   "AND s.enabled AND p.on_drift = 'heal' "
						   "AND NOT coalesce(s.next_rotation = s.quarantined_until, false)",
						   2, types, values, NULL) > 0
			   ? RECONCILE_HEALING
			   : RECONCILE_CHANGED_ELSEWHERE;
}

static ReconcileFinding
look_at_verifier(const Secret *secret, const Actor *actor)
{
	ReconcileFinding finding = compare_verifier(secret->id);
	RoleState role;
	pg_uuid_t version;

	if (finding == RECONCILE_OK)
		(void) change("UPDATE rotor.version SET superseded_at = NULL WHERE secret_id = $1 AND "
					  "stage = 'current' AND superseded_at IS NOT NULL",
					  secret->id);
	if (finding != RECONCILE_CHANGED_ELSEWHERE)
		return finding;
	/* Who sets a password, rotor too, locks the role's row: verifier and labels stay as they are. */
	if (!catalog_load_role(secret->role, true, &role))
		return RECONCILE_ROLE_MISSING;
	finding = compare_verifier(secret->id);
	if (finding != RECONCILE_CHANGED_ELSEWHERE)
		return finding;
	if (!version_of(&role, secret->id, &version))
		return note_drift(secret, actor);
	relabel(secret, &version, actor);
	return RECONCILE_RELABELLED;
}

/* The role is gone: what is to be done to it ends at its next attempt, which need not wait. */
static void
hasten_rotation(int64 id)
{
	(void) change("UPDATE rotor.rotation SET next_attempt_at = clock_timestamp() WHERE secret_id = "
				  "$1 AND status IN ('pending', 'in_progress', 'verifying') "
				  "AND next_attempt_at > clock_timestamp()",
				  id);
}

static ReconcileFinding
reconcile(int64 id, const Actor *actor, char *role)
{
	Secret secret;
	Policy policy;
	ReconcileFinding finding;
	ReconcileFinding good = RECONCILE_OK;

	if (!catalog_load_secret(id, &secret, &policy, CurrentMemoryContext))
		elog(ERROR, "the secret is gone");
	strlcpy(role, secret.username, USERNAME_SIZE);
	/* A clone would change what its original has outside, and publish over its values in a store. */
	if ((secret.outside_target || secret.outside_store) &&
		secret.system_identifier != GetSystemIdentifier())
		return RECONCILE_OUTSIDE_UNBOUND;
	if (secret.outside_target)
		return RECONCILE_OUTSIDE;
	if (secret.system_identifier != GetSystemIdentifier() ||
		GetUserNameFromId(secret.role, true) == NULL)
	{
		if (secret.system_identifier == GetSystemIdentifier())
			hasten_rotation(id);
		(void) change("SELECT FROM rotor.secret WHERE id = $1 FOR UPDATE", id);
		if (!bind_by_name(&secret, actor, &finding))
			return finding;
		good = RECONCILE_BOUND;
	}
	else if (reconcile_names(id, actor) > 0)
	{
		strlcpy(role, GetUserNameFromId(secret.role, false), USERNAME_SIZE);
		good = RECONCILE_RENAMED;
	}
	finding = look_at_verifier(&secret, actor);
	return finding == RECONCILE_OK ? good : finding;
}

ReconcileFinding
reconcile_secret(int64 id, const Actor *actor, char *role)
{
	ReconcileFinding finding;

	/* Of its own, so that what its statements leave behind does not add up over many secrets. */
	SPI_connect();
	finding = reconcile(id, actor, role);
	SPI_finish();
	return finding;
}

/* --- all secrets --- */

int
reconcile_read(int64 *after, ReconcileItem *items, int limit)
{
	int64 last = *after;
	bool is_end = catalog_secrets_after(*after, limit, &last) < limit;
	Oid types[] = {INT8OID, INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(*after), Int64GetDatum(last),
					  Int64GetDatum((int64) GetSystemIdentifier())};
	int count;

	SPI_connect();
	count = (int) catalog_execute(
		"SELECT s.id, s.name, coalesce(a.rolname, s.username), s.role_oid, p.outside_change, "
		"s.system_identifier = $3, " FINDING ", a.rolname IS DISTINCT FROM s.username "
		"OR v.superseded_at IS NOT NULL FROM (SELECT * FROM rotor.secret WHERE id > $1 AND id <= $2 "
		"OFFSET 0) s JOIN rotor.policy p ON p.name = s.policy "
		"LEFT JOIN pg_catalog.pg_authid a ON a.oid = s.role_oid AND s.system_identifier = $3 "
		"LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current' "
		"WHERE s.deleted_at IS NULL ORDER BY s.id",
		3, types, values, NULL);
	for (int i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		ReconcileItem *item = &items[i];
		bool null;

		item->id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &null));
		strlcpy(item->secret, SPI_getvalue(tuple, desc, 2), sizeof(item->secret));
		strlcpy(item->role, SPI_getvalue(tuple, desc, 3), sizeof(item->role));
		item->role_oid = DatumGetObjectId(SPI_getbinval(tuple, desc, 4, &null));
		item->outside_change = watch_mode_of(SPI_getvalue(tuple, desc, 5));
		item->ours = DatumGetBool(SPI_getbinval(tuple, desc, 6, &null));
		item->finding = finding_of(SPI_getvalue(tuple, desc, 7));
		item->is_settled = !DatumGetBool(SPI_getbinval(tuple, desc, 8, &null)) &&
						   item->finding != RECONCILE_ROLE_MISSING &&
						   item->finding != RECONCILE_CHANGED_ELSEWHERE;
	}
	SPI_finish();
	*after = is_end ? RECONCILE_END : last;
	return count;
}

char *
reconcile_detail(const int64 counts[RECONCILE_FINDING_COUNT], const char *why)
{
	StringInfoData json;

	initStringInfo(&json);
	if (why != NULL)
		appendStringInfo(&json, "{\"why\":\"%s\"", why);
	for (int i = 0; i < RECONCILE_FINDING_COUNT; i++)
	{
		if (counts[i] > 0)
			appendStringInfo(&json, "%c\"%s\":" INT64_FORMAT, json.len == 0 ? '{' : ',',
							 reconcile_name(i), counts[i]);
	}
	appendStringInfoString(&json, json.len == 0 ? "{}" : "}");
	return json.data;
}
