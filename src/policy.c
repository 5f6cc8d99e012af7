/*
 * policy.c - see policy.h.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "policy.h"
#include "report.h"

void
policy_generate(const Policy *policy, SecretBuf *value)
{
	RotorError err;
	bool done;

	secret_buf_wipe(value);
	if (strcmp(policy->type, "hex") == 0)
		done = password_generate_hex(policy->spec.length / 2, value, &err);
	else if (strcmp(policy->type, "uuid") == 0)
		done = password_generate_uuid(value, &err);
	else
		done = password_generate(&policy->spec, value, &err);
	if (!done)
		report_raise(&err);
}

static const char *const strategy_names[STRATEGY_COUNT] = {"staged", "immediate", "blue_green",
														   "dual_write"};

Strategy
policy_strategy_of(const char *name)
{
	for (int i = 0; i < STRATEGY_COUNT; i++)
	{
		if (strcmp(name, strategy_names[i]) == 0)
			return (Strategy) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized strategy \"%s\"", name),
			 errhint("Strategies are staged, immediate, blue_green and dual_write.")));
}

const char *
policy_strategy_name(Strategy strategy)
{
	return strategy_names[strategy];
}

void
policy_require_possible(const Policy *policy, const char *target_type)
{
	if (policy->strategy != STRATEGY_DUAL_WRITE || strcmp(target_type, "mysql") == 0)
		return;
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("strategy \"dual_write\" needs an engine with two passwords at once"),
					strcmp(target_type, "self") == 0 || strcmp(target_type, "postgresql") == 0
						? errdetail("PostgreSQL has one password for a role at a time.")
						: errdetail("A target of type %s has one value at a time.", target_type),
					errhint("MySQL has two. Use staged, or blue_green where there are roles.")));
}

/* The statements of text; a syntax error is told as one of verify_query, not of the caller's text. */
static List *
parse_query(const char *query)
{
	MemoryContext context = CurrentMemoryContext;
	List *volatile statements = NIL;
	Failure failure = {0};

	PG_TRY();
	{
		statements = raw_parser(query, RAW_PARSE_DEFAULT);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		failure_catch(&failure, NULL);
	}
	PG_END_TRY();
	if (failure.sqlstate != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("verify_query cannot be parsed"), errdetail("%s.", failure.message),
						errhint("For example: SELECT 1 FROM app.heartbeat LIMIT 1")));
	return statements;
}

/* True for a SELECT that neither writes nor locks, in all its branches and WITH queries. */
static bool
is_plain_select(Node *node) /* NOLINT(misc-no-recursion): the stack's depth is checked. */
{
	SelectStmt *select = (SelectStmt *) node;
	ListCell *cell;

	check_stack_depth();
	if (node == NULL || !IsA(node, SelectStmt) || select->intoClause != NULL ||
		select->lockingClause != NIL)
		return false;
	if (select->withClause != NULL)
	{
		foreach(cell, select->withClause->ctes)
		{
			if (!is_plain_select(((CommonTableExpr *) lfirst(cell))->ctequery))
				return false;
		}
	}
	return select->op == SETOP_NONE ||
		   (is_plain_select((Node *) select->larg) && is_plain_select((Node *) select->rarg));
}

/* A verification query is sent as the rotated role; it must be one plain SELECT. */
static void
check_query(const char *query)
{
	List *statements = parse_query(query);

	if (list_length(statements) != 1 || !is_plain_select(linitial_node(RawStmt, statements)->stmt))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verify_query must be one plain SELECT"),
				 errdetail("INTO, FOR UPDATE, a WITH query that writes and several statements "
						   "are not allowed."),
				 errhint("For example: SELECT 1 FROM app.heartbeat LIMIT 1")));
}

void
policy_check(const Policy *policy, const char *strategy)
{
	RotorError err;

	(void) policy_strategy_of(strategy);
	if (strcmp(policy->type, "password") == 0 && !password_spec_check(&policy->spec, &err))
		report_raise(&err);
	if (strcmp(policy->type, "hex") == 0 && policy->spec.length % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length %d of a hex value is odd", policy->spec.length),
				 errdetail("Each byte makes two characters."), errhint("Use an even length.")));
	if (policy->verify_query != NULL)
		check_query(policy->verify_query);
}
