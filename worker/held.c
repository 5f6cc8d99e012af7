/*
 * held.c - the jobs that this process holds a lease for; see held.h.
 */
#include "held.h"

#include <stdlib.h>

Held *
held_add(HeldJobs *jobs, Job *job)
{
	Held *held;

	if (jobs->count == HELD_MAX || (held = calloc(1, sizeof(*held))) == NULL)
		return NULL;
	held->job = job;
	held->state = HELD_WAITING;
	held->lease_end = job->lease_end;
	held->lease_ms = deadline_left(job->lease_end);
	jobs->entries[jobs->count++] = held;
	return held;
}

Held *
held_find(const HeldJobs *jobs, const Job *job)
{
	for (int i = 0; i < jobs->count; i++)
	{
		if (jobs->entries[i]->job == job)
			return jobs->entries[i];
	}
	return NULL;
}

void
held_remove(HeldJobs *jobs, Held *held)
{
	for (int i = 0; i < jobs->count; i++)
	{
		if (jobs->entries[i] != held)
			continue;
		jobs->count--;
		for (int j = i; j < jobs->count; j++)
			jobs->entries[j] = jobs->entries[j + 1];
		job_free(held->job);
		free(held);
		return;
	}
}

int
held_count(const HeldJobs *jobs, HeldState state)
{
	int count = 0;

	for (int i = 0; i < jobs->count; i++)
		count += jobs->entries[i]->state == state;
	return count;
}

int
held_leases(const HeldJobs *jobs, const char **leases)
{
	for (int i = 0; i < jobs->count; i++)
		leases[i] = jobs->entries[i]->job->lease;
	return jobs->count;
}

int64_t
held_heartbeat_ms(const HeldJobs *jobs, int64_t otherwise)
{
	int64_t shortest = otherwise * 3;

	for (int i = 0; i < jobs->count; i++)
	{
		if (jobs->entries[i]->lease_ms < shortest)
			shortest = jobs->entries[i]->lease_ms;
	}
	return shortest / 3;
}

void
held_free_all(HeldJobs *jobs)
{
	while (jobs->count > 0)
		held_remove(jobs, jobs->entries[jobs->count - 1]);
}
