/*
 * mysql_support.c - see mysql_support.h.
 */
#include "support.h"

#include "mysql_support.h"

#include <stdlib.h>

#define NEW_ID "11111111-1111-4111-8111-111111111111"

Peer peer;
MyClient *witness;

bool
start_mysql_peer(const char *name)
{
	MyServer server = {.user = "root"};
	MyError err;

	if (!peer_start(&peer, name))
		return false;
	if (peer_has(&peer, "absent"))
		return true;
	server.host = peer_value(&peer, "socket");
	witness = my_connect(&server, deadline_in(20000), &err);
	return witness != NULL;
}

int
stop_mysql_peer(void **state __attribute__((unused)))
{
	my_close(witness);
	witness = NULL;
	peer_stop(&peer);
	return 0;
}

void
run(MyClient *client, const char *sql)
{
	MyError err;

	if (my_exec(client, sql, deadline_in(20000), NULL, &err) != MY_DONE)
		fail_msg("%s", err.message);
}

/* What the server stores for the account; the caller frees it. */
char *
stored(const char *user, const char *host)
{
	char *user_quoted = my_quote(witness, user);
	char *host_quoted = my_quote(witness, host);
	char sql[512];
	MyAnswer *answer;
	MyError err;
	const char *const *row;
	unsigned columns;
	char *text;

	(void) snprintf(sql, sizeof(sql),
					"SELECT authentication_string FROM mysql.user WHERE User = %s AND Host = %s",
					user_quoted, host_quoted);
	assert_int_equal(my_exec(witness, sql, deadline_in(20000), &answer, &err), MY_DONE);
	assert_true(my_next(answer, &row, &columns));
	text = strdup(row[0]);
	my_answer_free(answer);
	free(user_quoted);
	free(host_quoted);
	return text;
}

const char *
json_text(const char *text)
{
	static char out[256];
	size_t used = 0;

	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			out[used++] = '\\';
		out[used++] = *text;
	}
	out[used] = '\0';
	return out;
}

Job *
job_of(const Order *order)
{
	char name[256];

	(void) snprintf(name, sizeof(name), "%s", json_text(order->user));
	return make_job(
		"{\"rotation\":\"" NEW_ID "\",\"lease\":\"" NEW_ID "\",\"lease_seconds\":60,"
		"\"step\":\"%s\",\"attempt\":0,\"secret\":\"s\",\"trigger\":\"manual\","
		"\"emergency\":%s,\"look\":%s,"
		"\"version\":{\"id\":\"" NEW_ID "\",\"username\":\"%s\",\"password\":\"%s\"},"
		"\"account\":{\"username\":\"%s\",\"options\":%s},\"target\":{\"name\":\"t\","
		"\"type\":\"mysql\",\"host\":\"%s\",\"port\":%d%s},"
		"\"store\":{\"name\":\"local\",\"type\":\"local\"},\"policy\":%s,\"pair\":%s}",
		order->step != NULL ? order->step : "set", order->emergency ? "true" : "false",
		order->look ? "true" : "false", name, order->password != NULL ? order->password : MARK,
		name, order->options != NULL ? order->options : "{}",
		order->host != NULL ? order->host : "127.0.0.1",
		order->port != 0 ? order->port : atoi(peer_value(&peer, "port")),
		order->target != NULL ? order->target : "", order->policy != NULL ? order->policy : "{}",
		order->pair != NULL ? order->pair : "null");
}

Outcome
set_as(const Job *job, const char *by, const char *password)
{
	JobValue admin = value_of(by, password);

	return target_mysql.set(job, &job->version, &admin, deadline_in(20000));
}

Outcome
set_by_admin(const Job *job)
{
	return set_as(job, "admin", "admin-password");
}

Outcome
login_of(const Job *job, const char *password)
{
	JobValue value = value_of(job->username, password);

	return target_mysql.login(job, &value, true, deadline_in(20000));
}

void
assert_outcome(Outcome outcome, OutcomeClass class, const char *code)
{
	if (outcome.class != class || strcmp(outcome.code, code) != 0)
		fail_msg("%s %s %s", outcome_name(outcome.class), outcome.code, outcome.message);
	assert_true((class == OUTCOME_OK) || outcome.message[0] != '\0');
}
