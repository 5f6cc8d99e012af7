/*
 * hba.c - see hba.h. Matching follows the manual, 21.1; host names other than localhost are not
 * resolved (no network but the login) and match nothing.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "hba.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* One rule; strings live in rules_context. */
typedef struct HbaRule
{
	int line;
	char *file;
	char *type; /* local, host, hostssl, hostnossl, hostgssenc, hostnogssenc */
	List *databases;
	List *users;
	char *address; /* NULL for local */
	char *netmask; /* NULL unless address is numeric */
	char *method;
	bool client_certificate;
} HbaRule;

static MemoryContext rules_context; /* NULL: not read yet */
static List *rules;

void
hba_forget(void)
{
	if (rules_context != NULL)
		MemoryContextDelete(rules_context);
	rules_context = NULL;
	rules = NIL;
}

static char *
string_field(HeapTuple tuple, int number)
{
	return SPI_getvalue(tuple, SPI_tuptable->tupdesc, number);
}

static List *
list_field(HeapTuple tuple, int number)
{
	bool null;
	Datum value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, number, &null);
	Datum *elements;
	int count;
	List *list = NIL;

	if (null)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL,
					  &count);
	for (int i = 0; i < count; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

static void
read_rules(void)
{
	MemoryContext context;
	MemoryContext caller;
	List *read = NIL;

	if (SPI_execute("SELECT line_number, " HBA_RULES_FILE_COLUMN ", type, database, user_name, "
					"address, netmask, auth_method, coalesce(options::text ~ "
					"'clientcert=(verify-ca|verify-full|1)', false) "
					"FROM pg_catalog.pg_hba_file_rules WHERE error IS NULL",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_hba_file_rules");
	context =
		AllocSetContextCreate(CurrentMemoryContext, "rotor pg_hba.conf", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		HbaRule *rule = palloc0(sizeof(HbaRule));

		rule->line = pg_strtoint32(string_field(tuple, 1));
		rule->file = string_field(tuple, 2);
		rule->type = string_field(tuple, 3);
		rule->databases = list_field(tuple, 4);
		rule->users = list_field(tuple, 5);
		rule->address = string_field(tuple, 6);
		rule->netmask = string_field(tuple, 7);
		rule->method = string_field(tuple, 8);
		rule->client_certificate = strcmp(string_field(tuple, 9), "t") == 0;
		read = lappend(read, rule);
	}
	MemoryContextSwitchTo(caller);
	/* All or nothing: half of the rules would give another answer. */
	MemoryContextSetParent(context, TopMemoryContext);
	rules_context = context;
	rules = read;
}

static bool
matches_regex(const char *pattern, const char *text)
{
	return DatumGetBool(DirectFunctionCall2Coll(
		textregexeq, C_COLLATION_OID, CStringGetTextDatum(text), CStringGetTextDatum(pattern)));
}

static bool
is_member(Oid member, const char *group)
{
	Oid group_oid = get_role_oid(group, true);

	return OidIsValid(member) && OidIsValid(group_oid) &&
		   is_member_of_role_nosuper(member, group_oid);
}

static bool
database_matches(const HbaRule *rule, const char *dbname, const char *user, Oid role)
{
	ListCell *cell;

	foreach(cell, rule->databases)
	{
		const char *word = lfirst(cell);

		if (strcmp(word, "all") == 0 || strcmp(word, dbname) == 0 ||
			(strcmp(word, "sameuser") == 0 && strcmp(dbname, user) == 0) ||
			((strcmp(word, "samerole") == 0 || strcmp(word, "samegroup") == 0) &&
			 is_member(role, dbname)) ||
			(word[0] == '/' && matches_regex(word + 1, dbname)))
			return true;
	}
	return false;
}

static bool
user_matches(const HbaRule *rule, const char *user, Oid role)
{
	ListCell *cell;

	foreach(cell, rule->users)
	{
		const char *word = lfirst(cell);

		if (strcmp(word, "all") == 0 || strcmp(word, user) == 0 ||
			(word[0] == '+' && is_member(role, word + 1)) ||
			(word[0] == '/' && matches_regex(word + 1, user)))
			return true;
	}
	return false;
}

/* Do two numeric addresses of one family agree under the mask? */
static bool
in_network(const char *address, const char *network, const char *mask)
{
	uint8 a[16];
	uint8 n[16];
	uint8 m[16];
	int family = strchr(address, ':') ? AF_INET6 : AF_INET;
	int size = family == AF_INET6 ? 16 : 4;

	if (inet_pton(family, address, a) != 1 || inet_pton(family, network, n) != 1 ||
		inet_pton(family, mask, m) != 1)
		return false;
	for (int i = 0; i < size; i++)
	{
		if ((a[i] & m[i]) != (n[i] & m[i]))
			return false;
	}
	return true;
}

static bool
address_matches(const HbaRule *rule, const char *address, bool tls)
{
	if (strcmp(rule->type, "local") == 0 || address == NULL)
		return strcmp(rule->type, "local") == 0 && address == NULL;
	if (strcmp(rule->type, tls ? "hostnossl" : "hostssl") == 0 ||
		strcmp(rule->type, "hostgssenc") == 0)
		return false;
	if (rule->netmask != NULL)
		return in_network(address, rule->address, rule->netmask);
	/* The login comes from this host, so these cover it. */
	return rule->address != NULL &&
		   (strcmp(rule->address, "all") == 0 || strcmp(rule->address, "samehost") == 0 ||
			strcmp(rule->address, "samenet") == 0 || strcmp(rule->address, "localhost") == 0);
}

static HbaProof
proof_of_method(const char *method)
{
	static const char *const own[] = {"password", "md5", "scram-sha-256"};
	static const char *const external[] = {"ldap", "pam", "radius", "bsd"};

	for (size_t i = 0; i < lengthof(own); i++)
	{
		if (strcmp(method, own[i]) == 0)
			return HBA_PROOF_PASSWORD;
	}
	for (size_t i = 0; i < lengthof(external); i++)
	{
		if (strcmp(method, external[i]) == 0)
			return HBA_PROOF_EXTERNAL;
	}
	return strcmp(method, "reject") == 0 ? HBA_PROOF_REJECT : HBA_PROOF_NONE;
}

/* A line that wants a client certificate too cannot be passed with a password alone. */
static HbaProof
proof_of(const HbaRule *rule)
{
	HbaProof proof = proof_of_method(rule->method);

	return proof == HBA_PROOF_PASSWORD && rule->client_certificate ? HBA_PROOF_NONE : proof;
}

void
hba_ask(const char *address, bool tls, const char *dbname, const char *user, HbaAnswer *answer)
{
	Oid role = get_role_oid(user, true);
	ListCell *cell;

	if (rules_context == NULL)
		read_rules();
	memset(answer, 0, sizeof(*answer));
	answer->proof = rules == NIL ? HBA_PROOF_UNKNOWN : HBA_PROOF_REJECT;
	strlcpy(answer->method, "no line", sizeof(answer->method));
	strlcpy(answer->file, HbaFileName, sizeof(answer->file));
	foreach(cell, rules)
	{
		const HbaRule *rule = lfirst(cell);

		if (!address_matches(rule, address, tls) || !database_matches(rule, dbname, user, role) ||
			!user_matches(rule, user, role))
			continue;
		answer->proof = proof_of(rule);
		strlcpy(answer->method, rule->method, sizeof(answer->method));
		answer->wants_certificate =
			rule->client_certificate && proof_of_method(rule->method) == HBA_PROOF_PASSWORD;
		answer->line = rule->line;
		strlcpy(answer->file, rule->file, sizeof(answer->file));
		return;
	}
}
