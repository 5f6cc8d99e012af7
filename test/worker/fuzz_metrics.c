/*
 * fuzz_metrics.c
 *		Labels of metrics: whatever a target is called, the text stays one that Prometheus reads.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <sys/resource.h>

#include "metrics.h"

/* Reads one quoted value; what follows it. */
static const char *
read_quoted(const char *at)
{
	MUST(*at++ == '"');
	for (; *at != '"'; at++)
	{
		MUST(*at != '\0' && *at != '\n');
		if (*at == '\\')
		{
			at++;
			MUST(*at == '\\' || *at == '"' || *at == 'n');
		}
	}
	return at + 1;
}

static char *
take_text(Input *input)
{
	Input bytes = take_bytes(input);
	char *text = malloc(bytes.len + 1);

	MUST(text != NULL);
	memcpy(text, bytes.data, bytes.len);
	text[bytes.len] = '\0';
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char begin[] = "rotor_steps_total{step=\"set\",result=\"ok\"";
	const struct rlimit few = {256, 256};
	Input input = {data, size};
	char *target = take_text(&input);
	char *store = take_text(&input);
	size_t len = 0;
	char *text;
	const char *at;

	/* So that the process's own figures are found soon. */
	(void) setrlimit(RLIMIT_NOFILE, &few);
	metrics_init("1.0");
	metrics_add(METRIC_STEPS, 1, METRIC_LABELS("set", "ok", target, store));
	text = metrics_text(&len);
	MUST(text != NULL && strlen(text) == len);
	at = strstr(text, begin);
	MUST(at != NULL);
	at += sizeof(begin) - 1;
	if (target[0] != '\0')
	{
		MUST(strncmp(at, ",target=", 8) == 0);
		at = read_quoted(at + 8);
	}
	if (store[0] != '\0')
	{
		MUST(strncmp(at, ",store=", 7) == 0);
		at = read_quoted(at + 7);
	}
	MUST(strncmp(at, "} 1\n# HELP ", 11) == 0);
	free(text);
	free(target);
	free(store);
	return 0;
}
