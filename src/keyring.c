/*
 * keyring.c - see keyring.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "guc.h"
#include "keyfile.h"
#include "keyring.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "random.h"
#include "report.h"
#include "storage/fd.h"
#include "storage/ipc.h"

#define KEY_CACHE_SIZE 16
#define WRAP_AAD_SIZE  (UUID_LEN + KEYFILE_ID_MAX)

/* The text that holds master keys, wiped before it is freed. */
typedef struct KeyText
{
	char data[KEYFILE_MAX_SIZE];
	size_t len;
} KeyText;

static DataKey cache[KEY_CACHE_SIZE];
static int cached;
static bool process_protected;

static void
forget_keys(int code, Datum arg)
{
	secret_wipe(cache, sizeof(cache));
	random_discard();
	cached = 0;
}

void
keyring_protect_process(void)
{
	if (process_protected)
		return;
#ifdef PR_SET_DUMPABLE
	(void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
	on_proc_exit(forget_keys, (Datum) 0);
	process_protected = true;
}

char *
keyring_file_path(void)
{
	if (is_absolute_path(rotor_key_file))
		return pstrdup(rotor_key_file);
	return psprintf("%s/%s", DataDir, rotor_key_file);
}

/* Reads fd to its end; false if it holds more than a key file may. */
static bool
read_all(int fd, KeyText *text)
{
	ssize_t n = 0;

	text->len = 0;
	while (text->len < sizeof(text->data) &&
		   ((n = read(fd, text->data + text->len, sizeof(text->data) - text->len)) > 0 ||
			(n < 0 && errno == EINTR)))
	{
		CHECK_FOR_INTERRUPTS();
		if (n > 0)
			text->len += n;
	}
	if (n < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read the master keys: %m")));
	return text->len < sizeof(text->data);
}

/* rotor.key_command with %k and %% replaced. id is checked: it reaches a shell. */
static char *
key_command_for(const char *id)
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
run_key_command(const char *id, KeyText *text)
{
	char *command = key_command_for(id);
	FILE *pipe = OpenPipeStream(command, "r");
	bool fits;
	int status;

	if (pipe == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE), errmsg("could not run rotor.key_command: %m")));
	/* The descriptor, not the stream: stdio would keep a copy of the key in its buffer. */
	fits = read_all(fileno(pipe), text);
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

/* False if there is no key file. */
static bool
read_key_file(const char *path, KeyText *text)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer; a regular file does not mind. */
	int fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0 || fstat(fd, &st) != 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
						errmsg("could not open key file \"%s\": %m", path),
						errhint("Restore it, or set rotor.key_file, and reload.")));
	/* The rule of ssl_key_file: ours and private, or root's and readable by our group. */
	if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_mode & (st.st_uid == 0 ? (S_IWGRP | S_IXGRP | S_IRWXO) : (S_IRWXG | S_IRWXO))))
		ereport(
			ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("key file \"%s\" is readable by others, or not a regular file of ours", path),
			 errhint("Make it owned by the server's user with mode 0600, or by root with 0640.")));
	if (!read_all(fd, text))
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						errmsg("key file \"%s\" is larger than %d bytes", path, KEYFILE_MAX_SIZE),
						errhint("Keep only lines of the form id:key.")));
	CloseTransientFile(fd);
	return true;
}

/*
 * Fills *master with the key of that id (NULL: the newest); false if there is neither a key command
 * nor a key file. Raises an error if there is, but not this key.
 */
static bool
find_master_key(const char *id, MasterKey *master)
{
	KeyText *text = palloc(sizeof(KeyText));
	RotorError err;
	bool exists = true;
	bool found = false;

	text->len = 0;
	PG_TRY();
	{
		if (rotor_key_command[0] != '\0')
			run_key_command(id ? id : "newest", text);
		else
			exists = read_key_file(keyring_file_path(), text);
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

static void missing_key(const char *id) ROTOR_NORETURN;

static void
missing_key(const char *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 id ? errmsg("master key \"%s\" is missing", id) : errmsg("there is no master key"),
			 errdetail("There is no key file \"%s\".", keyring_file_path()),
			 errhint("Restore the file from where it was kept, or set rotor.key_file or "
					 "rotor.key_command, and reload. Nothing is lost while it is away.")));
}

static void
sync_or_fail(int fd, const char *path)
{
	/* Not pg_fsync(): the key must be durable even where the cluster runs with fsync off. */
	if (fsync(fd) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not sync \"%s\": %m", path)));
}

/* Makes the first key file; if somebody else makes one first, theirs stays. */
static void
make_key_file(const char *path)
{
	char *temporary = psprintf("%s.%d.tmp", path, MyProcPid);
	char *folder = pstrdup(path);
	MasterKey master;
	SecretBuf line = {0};
	RotorError err;
	bool made;
	bool complete;
	int open_errno;
	int fd;

	(void) unlink(temporary); /* left by an earlier process of this id */
	fd = OpenTransientFilePerm(temporary, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY,
							   S_IRUSR | S_IWUSR);
	open_errno = errno;
	/* The key is made last: nothing but the write may fail while it is in memory. */
	made = keyfile_new(&master, &err) && keyfile_format_line(&master, &line, &err);
	secret_wipe(&master, sizeof(master));
	complete = made && fd >= 0 && write(fd, line.data, line.len) == (ssize_t) line.len;
	secret_buf_wipe(&line);
	if (!made)
	{
		(void) unlink(temporary);
		report_raise(&err);
	}
	if (!complete)
	{
		if (fd < 0)
			errno = open_errno;
		else if (errno == 0)
			errno = ENOSPC;
		(void) unlink(temporary);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("could not write the first key file \"%s\": %m", path),
				 errhint("Make its folder writable for the server, or set rotor.key_file.")));
	}
	sync_or_fail(fd, temporary);
	CloseTransientFile(fd);
	if (link(temporary, path) != 0 && errno != EEXIST)
	{
		int saved = errno;

		(void) unlink(temporary);
		errno = saved;
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
						errmsg("could not link the first key file \"%s\": %m", path)));
	}
	(void) unlink(temporary);
	get_parent_directory(folder);
	fd = OpenTransientFile(folder[0] ? folder : ".", O_RDONLY);
	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", folder)));
	sync_or_fail(fd, folder);
	CloseTransientFile(fd);
}

static size_t
wrap_aad(const pg_uuid_t *id, const char *master_key_id, uint8_t aad[WRAP_AAD_SIZE])
{
	size_t len = strlen(master_key_id);

	memcpy(aad, id->data, UUID_LEN);
	memcpy(aad + UUID_LEN, master_key_id, len);
	return UUID_LEN + len;
}

static bytea *
bytea_of(const void *data, size_t len)
{
	bytea *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return result;
}

/* Wraps key by master into row. */
static void
wrap(const DataKey *key, const MasterKey *master, DataKeyRow *row)
{
	uint8_t aad[WRAP_AAD_SIZE];
	uint8_t wrapped[SEAL_KEY_LEN + SEAL_OVERHEAD];
	uint8_t check[SEAL_CHECK_LEN];
	size_t len;
	RotorError err;

	row->id = key->id;
	strlcpy(row->master_key_id, master->id, sizeof(row->master_key_id));
	if (!seal_value(master->key, aad, wrap_aad(&key->id, master->id, aad), key->key,
					sizeof(key->key), wrapped, sizeof(wrapped), &len, &err) ||
		!seal_check_value(master->key, check, &err))
		report_raise(&err);
	row->wrapped = bytea_of(wrapped, len);
	row->check_value = bytea_of(check, sizeof(check));
}

static DataKey *
cache_slot(void)
{
	/* Data keys are few; should they ever be many, the oldest entries are reused in turn. */
	DataKey *slot = &cache[cached % KEY_CACHE_SIZE];

	cached++;
	return slot;
}

const DataKey *
keyring_cached(const pg_uuid_t *id)
{
	for (int i = 0; i < Min(cached, KEY_CACHE_SIZE); i++)
	{
		if (memcmp(cache[i].id.data, id->data, UUID_LEN) == 0)
			return &cache[i];
	}
	return NULL;
}

/* Opens row's data key with master into *plain; raises an error that tells a wrong key from damage. */
static void
unwrap(const DataKeyRow *row, const MasterKey *master, SecretBuf *plain)
{
	uint8_t aad[WRAP_AAD_SIZE];
	uint8_t check[SEAL_CHECK_LEN];
	RotorError err;

	if (!seal_check_value(master->key, check, &err))
		report_raise(&err);
	if (VARSIZE_ANY_EXHDR(row->check_value) != sizeof(check) ||
		memcmp(VARDATA_ANY(row->check_value), check, sizeof(check)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("master key \"%s\" is not the one that was used", row->master_key_id),
				 errdetail("A key of this id was found, but its check value differs."),
				 errhint("Restore the key of this id from where it was kept. Nothing is lost while "
						 "it is away.")));
	if (!seal_open(master->key, aad, wrap_aad(&row->id, row->master_key_id, aad),
				   VARDATA_ANY(row->wrapped), VARSIZE_ANY_EXHDR(row->wrapped), plain, &err) ||
		plain->len != SEAL_KEY_LEN)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a data key is damaged"),
						errdetail("The master key is right, but the row in rotor.data_key is not."),
						errhint("Restore rotor.data_key from a backup.")));
}

/* Opens row by its master key, as it is to be had now, into *key. */
static void
open_data_key(const DataKeyRow *row, DataKey *key)
{
	MasterKey master;
	SecretBuf plain = {0};

	keyring_protect_process();
	if (!find_master_key(row->master_key_id, &master))
		missing_key(row->master_key_id);
	PG_TRY();
	{
		unwrap(row, &master, &plain);
		memcpy(key->key, plain.data, SEAL_KEY_LEN);
		key->id = row->id;
	}
	PG_FINALLY();
	{
		secret_wipe(&master, sizeof(master));
		secret_buf_wipe(&plain);
	}
	PG_END_TRY();
}

const DataKey *
keyring_unwrap(const DataKeyRow *row)
{
	const DataKey *known = keyring_cached(&row->id);
	DataKey *slot;
	DataKey key;

	if (known != NULL)
		return known;
	open_data_key(row, &key);
	slot = cache_slot();
	*slot = key;
	secret_wipe(&key, sizeof(key));
	return slot;
}

void
keyring_prove(const DataKeyRow *row)
{
	DataKey key;

	open_data_key(row, &key);
	secret_wipe(&key, sizeof(key));
}

void
keyring_make_data_key(DataKeyRow *row, bool may_make_key, bool *made_file)
{
	DataKey key;
	MasterKey master;
	RotorError err;

	*made_file = false;
	keyring_protect_process();
	if (!find_master_key(NULL, &master))
	{
		if (!may_make_key)
			missing_key(NULL);
		make_key_file(keyring_file_path());
		*made_file = true;
		if (!find_master_key(NULL, &master))
			missing_key(NULL);
	}
	PG_TRY();
	{
		if (!random_bytes(&key.id, sizeof(key.id), &err) ||
			!random_bytes(key.key, sizeof(key.key), &err))
			report_raise(&err);
		wrap(&key, &master, row);
	}
	PG_FINALLY();
	{
		secret_wipe(&master, sizeof(master));
		secret_wipe(&key, sizeof(key));
	}
	PG_END_TRY();
}

bool
keyring_rewrap(DataKeyRow *row)
{
	MasterKey master;
	bool moved = false;

	if (!find_master_key(NULL, &master))
		missing_key(NULL);
	PG_TRY();
	{
		if (strcmp(master.id, row->master_key_id) != 0)
		{
			wrap(keyring_unwrap(row), &master, row);
			moved = true;
		}
	}
	PG_FINALLY();
	{
		secret_wipe(&master, sizeof(master));
	}
	PG_END_TRY();
	return moved;
}
