/*
 * job_of.h - jobs for tests of stores and targets, by way of job_parse().
 */
#ifndef ROTOR_TEST_JOB_OF_H
#define ROTOR_TEST_JOB_OF_H

#include "job.h"

/* Uuids that differ in one byte: uuid('1'); static memory, one for each. */
extern const char *uuid(char c);

/* A value of a job: NULL as id stands for null. */
typedef struct TestValue
{
	const char *id;
	const char *username;
	const char *password;
} TestValue;

typedef struct TestJob
{
	const char *step; /* NULL: publish */
	TestValue version, former, admin;
	const char *key;		   /* NULL: "db/app" */
	const char *store_options; /* JSON; NULL: {} */
	const char *target; /* the target's JSON besides name and type; NULL: host, port and dbname */
	const char *target_type; /* NULL: postgresql */
	const char *policy;		 /* JSON; NULL: {} */
	bool look;
	int attempt;
} TestJob;

/* Ends the program if it is no job. Freed by job_free(). */
extern Job *job_of(const TestJob *test);

/* A deadline that no test reaches. */
extern Deadline far_away(void);

#endif
