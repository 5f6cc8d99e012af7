/*
 * master_key.c - see master_key.h.
 */
#include "postgres.h"

#include "compat.h"
#include "guc.h"
#include "lib/stringinfo.h"
#include "master_key.h"
#include "master_key_file.h"
#include "miscadmin.h"
#include "report.h"
#include "storage/fd.h"
#include "types.h"

/* rotor.key_command with %k and %% replaced. id is checked: it reaches a shell. */
static char *
command_for(const char *id)
{
	StringInfoData command;
	RotorError err;

	if (!keyfile_check_id(id, &err))
		report_raise(&err);
	initStringInfo(&command);
	for (const char *p = rotor_key_command; *p; p++)
	{
		if (p[0] == '%' && p[1] == 'k')
		{
			appendStringInfoString(&command, id);
			p++;
		}
		else
		{
			if (p[0] == '%' && p[1] == '%')
				p++;
			appendStringInfoChar(&command, *p);
		}
	}
	return command.data;
}

static void
run_command(const char *id, KeyfileText *text)
{
	char *command = command_for(id);
	FILE *pipe = OpenPipeStream(command, "r");
	bool fits;
	int status;

	if (pipe == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE), errmsg("could not run rotor.key_command: %m")));
	/* The descriptor, not the stream: stdio would keep a copy of the key in its buffer. */
	fits = master_key_read_all(fileno(pipe), text);
	status = ClosePipeStream(pipe);
	/* A cancel reaches the command too, which then fails: the cancel is what counts. */
	CHECK_FOR_INTERRUPTS();
	if (!fits)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						errmsg("rotor.key_command printed more than %d bytes", KEYFILE_MAX_SIZE),
						errhint("It has to print lines of the form id:key and nothing else.")));
	if (status != 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
						errmsg("rotor.key_command gave no key for id \"%s\"", id),
						errdetail_internal("The %s.", wait_result_to_str(status)),
						errhint("Run it by hand as the server's operating system user.")));
	pfree(command);
}

bool
master_key_find(const char *id, MasterKey *master)
{
	KeyfileText *text = palloc(sizeof(KeyfileText));
	RotorError err;
	bool exists = true;
	bool found = false;

	text->len = 0;
	PG_TRY();
	{
		if (rotor_key_command[0] != '\0')
			run_command(id ? id : "newest", text);
		else
			exists = master_key_file_read(master_key_file_path(), text);
		if (exists)
			found = keyfile_find(text->data, text->len, id, master, &err);
	}
	PG_FINALLY();
	{
		secret_wipe(text, sizeof(*text));
		pfree(text);
	}
	PG_END_TRY();
	if (exists && !found)
		report_raise(&err);
	return exists;
}

void
master_key_missing(const char *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 id ? errmsg("master key \"%s\" is missing", id) : errmsg("there is no master key"),
			 errdetail("There is no key file \"%s\".", master_key_file_path()),
			 errhint("Restore the file from where it was kept, or set rotor.key_file or "
					 "rotor.key_command, and reload. Nothing is lost while it is away.")));
}

void
master_key_make_first(void)
{
	KeyfileText *text = palloc0(sizeof(KeyfileText));
	MasterKey key;
	RotorError err;

	PG_TRY();
	{
		if (!keyfile_new(&key, &err) || !keyfile_append(text, &key, &err))
			report_raise(&err);
		(void) master_key_file_create(master_key_file_path(), text);
	}
	PG_FINALLY();
	{
		secret_wipe(&key, sizeof(key));
		secret_wipe(text, sizeof(*text));
		pfree(text);
	}
	PG_END_TRY();
}

void
master_key_require_file(const char *remedy)
{
	if (rotor_key_command[0] != '\0')
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the master keys come from rotor.key_command"),
						errdetail("rotor reads what it prints and changes nothing there."),
						errhint("%s", remedy)));
}

/* Raises 42710 if the text has a key of that id. */
static void
require_new_id(const KeyfileText *text, const char *id)
{
	MasterKey present;
	RotorError ignored;
	bool found = keyfile_find(text->data, text->len, id, &present, &ignored);

	secret_wipe(&present, sizeof(present));
	if (found)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("master key \"%s\" exists", id),
						errhint("Give each key an id of its own, and never use one again.")));
}

bool
master_key_read_text(KeyfileText *text)
{
	return master_key_file_read(master_key_file_path(), text);
}

void
master_key_write_text(const KeyfileText *text, bool exists)
{
	char *path = master_key_file_path();

	if (exists)
		master_key_file_replace(path, text);
	else if (!master_key_file_create(path, text))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("somebody else made key file \"%s\" meanwhile", path),
						errhint("Try again.")));
}

void
master_key_add(const MasterKey *key, bool may_make_file)
{
	KeyfileText *text = palloc0(sizeof(KeyfileText));
	RotorError err;

	PG_TRY();
	{
		bool exists = master_key_read_text(text);

		if (!exists && !may_make_file)
			master_key_missing(NULL);
		require_new_id(text, key->id);
		if (!keyfile_append(text, key, &err))
			report_raise(&err);
		master_key_write_text(text, exists);
	}
	PG_FINALLY();
	{
		secret_wipe(text, sizeof(*text));
		pfree(text);
	}
	PG_END_TRY();
}

int
master_key_ids(char (**ids)[KEYFILE_ID_MAX + 1])
{
	KeyfileText *text = palloc0(sizeof(KeyfileText));
	size_t offset = 0;
	int count = 0;
	MasterKey key;
	RotorError err;

	*ids = NULL;
	PG_TRY();
	{
		if (master_key_read_text(text) && !keyfile_find(text->data, text->len, NULL, &key, &err))
			report_raise(&err);
		while (keyfile_next(text->data, text->len, &offset, &key))
		{
			*ids = *ids ? repalloc(*ids, (count + 1) * sizeof(**ids)) : palloc(sizeof(**ids));
			strlcpy((*ids)[count++], key.id, sizeof(key.id));
		}
	}
	PG_FINALLY();
	{
		secret_wipe(&key, sizeof(key));
		secret_wipe(text, sizeof(*text));
		pfree(text);
	}
	PG_END_TRY();
	return count;
}

void
master_key_remove(const char *id)
{
	KeyfileText *text = palloc0(sizeof(KeyfileText));
	MasterKey newest;
	RotorError err;

	PG_TRY();
	{
		if (!master_key_read_text(text))
			master_key_missing(NULL);
		if (!keyfile_find(text->data, text->len, NULL, &newest, &err))
			report_raise(&err);
		if (strcmp(newest.id, id) == 0)
			ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
							errmsg("master key \"%s\" is the newest", id),
							errdetail("It wraps the next data key."),
							errhint("Call rotor.add_master_key() and rotor.rewrap_keys() first.")));
		if (!keyfile_remove(text, id, &err))
		{
			if (err.code == ROTOR_ERROR_NOT_FOUND)
				ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
								errmsg("there is no master key \"%s\" in the key file", id),
								errhint("rotor.retire_keys() lists those that can be removed.")));
			report_raise(&err);
		}
		master_key_write_text(text, true);
	}
	PG_FINALLY();
	{
		secret_wipe(&newest, sizeof(newest));
		secret_wipe(text, sizeof(*text));
		pfree(text);
	}
	PG_END_TRY();
}
