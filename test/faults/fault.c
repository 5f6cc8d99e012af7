/*
 * fault.c
 *		The rules by which calls fail; see fault.h.
 */
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT	 1024
#define MAX_RULES	 8
#define POINT_SIZE	 64
#define SQLSTATE_LEN 5

typedef struct Rule
{
	FaultAction action;
	int first;
	int calls; /* that matched so far */
	bool and_later;
	char sqlstate[SQLSTATE_LEN + 1];
	char point[POINT_SIZE];
} Rule;

void (*fault_act)(FaultAction action, const char *class, const char *point, int call,
				  const char *sqlstate);

static Rule rules[MAX_RULES];
static int rule_count;
static char fired[POINT_SIZE];

static bool
parse_action(const char *text, Rule *rule)
{
	static const char *const names[] = {"fail", "crash", "stop", "trace"};

	for (int i = 0; i < (int) (sizeof(names) / sizeof(names[0])); i++)
	{
		if (strcmp(text, names[i]) == 0)
		{
			rule->action = (FaultAction) i;
			return true;
		}
	}
	rule->action = FAULT_RAISE;
	memcpy(rule->sqlstate, text, strnlen(text, SQLSTATE_LEN));
	return strlen(text) == SQLSTATE_LEN &&
		   strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == SQLSTATE_LEN;
}

static bool
parse_call(const char *text, Rule *rule)
{
	char *end;
	long n = strtol(text, &end, 10);

	rule->first = (int) n;
	rule->and_later = *end == '+';
	return n > 0 && n < 1000000 && end != text && end[rule->and_later] == '\0';
}

static bool
parse_rule(char *text, Rule *rule)
{
	char *rest = text;
	char *point = strsep(&rest, ":");
	char *action = strsep(&rest, ":");

	memset(rule, 0, sizeof(*rule));
	if (action == NULL || point[0] == '\0' || strlen(point) >= sizeof(rule->point))
		return false;
	memcpy(rule->point, point, strlen(point));
	return parse_action(action, rule) && parse_call(rest != NULL ? rest : "1", rule);
}

/* Returns how many rules there are, -1 if the text is none of rules. */
static int
parse(const char *text, Rule parsed[MAX_RULES])
{
	char copy[MAX_TEXT];
	char *rest = text[0] != '\0' ? copy : NULL;
	int count = 0;

	if (strlen(text) >= sizeof(copy))
		return -1;
	memcpy(copy, text, strlen(text) + 1);
	while (rest != NULL && count >= 0)
	{
		if (count == MAX_RULES || !parse_rule(strsep(&rest, ","), &parsed[count]))
			count = -1;
		else
			count++;
	}
	return count;
}

bool
fault_check(const char *text)
{
	Rule parsed[MAX_RULES];

	return parse(text, parsed) >= 0;
}

bool
fault_arm(const char *text)
{
	Rule parsed[MAX_RULES];
	int count = parse(text, parsed);

	if (count < 0)
		return false;
	memcpy(rules, parsed, sizeof(rules));
	rule_count = count;
	fired[0] = '\0';
	return true;
}

const char *
fault_fired(void)
{
	return fired;
}

static bool
matches(const Rule *rule, const char *class, const char *point)
{
	return strcmp(rule->point, point) == 0 || strcmp(rule->point, class) == 0 ||
		   strcmp(rule->point, "any") == 0;
}

bool
fault_now(const char *class, const char *point)
{
	bool fails = false;

	for (int i = 0; i < rule_count; i++)
	{
		Rule *rule = &rules[i];

		if (!matches(rule, class, point))
			continue;
		rule->calls++;
		if (rule->action != FAULT_TRACE && rule->calls != rule->first &&
			!(rule->and_later && rule->calls > rule->first))
			continue;
		if (rule->action == FAULT_FAIL)
			fails = true;
		if (rule->action != FAULT_TRACE)
			(void) snprintf(fired, sizeof(fired), "%s", point);
		if (fault_act != NULL)
			fault_act(rule->action, class, point, rule->calls, rule->sqlstate);
	}
	return fails;
}
