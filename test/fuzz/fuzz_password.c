/*
 * fuzz_password.c
 *		Policy values: what a policy's columns say of a password, however odd.
 *
 * The input: flags, a number for the length, a number that the random bytes follow from,
 * and the rest, which is the list of excluded characters.  A judge of our own says whether
 * the policy can be obeyed.
 */
#include "fuzz.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "password.h"

enum
{
	FLAG_UPPERCASE = 1,
	FLAG_LOWERCASE = 2,
	FLAG_DIGITS = 4,
	FLAG_SYMBOLS = 8,
	FLAG_EACH_TYPE = 16,
	FLAG_NO_LIST = 32,	  /* exclude is NULL */
	FLAG_ANY_LENGTH = 64, /* any int; else one that is about right */
	FLAG_OTHER_TYPE = 128 /* hexadecimal digits or a UUID */
};

/* May the character be in the password?  The classes as the C library sees them. */
static bool
is_allowed(const PasswordSpec *spec, char c)
{
	unsigned char byte = (unsigned char) c;

	if (spec->exclude != NULL && c != '\0' && strchr(spec->exclude, c) != NULL)
		return false;
	return (spec->uppercase && isupper(byte)) || (spec->lowercase && islower(byte)) ||
		   (spec->digits && isdigit(byte)) || (spec->symbols && ispunct(byte));
}

/* How many of the spec's types have a character in text that is_type() likes and is allowed. */
static int
count_types(const PasswordSpec *spec, const char *text, size_t len)
{
	static int (*const is_type[])(int) = {isupper, islower, isdigit, ispunct};
	int types = 0;

	for (int type = 0; type < 4; type++)
	{
		bool seen = false;

		for (size_t i = 0; i < len; i++)
			seen |= is_allowed(spec, text[i]) && is_type[type]((unsigned char) text[i]);
		types += seen;
	}
	return types;
}

/* Can the spec be obeyed? */
static bool
is_possible(const PasswordSpec *spec)
{
	char ascii[127];
	int wanted = spec->uppercase + spec->lowercase + spec->digits + spec->symbols;
	int left;

	for (int c = 0; c < 127; c++)
		ascii[c] = (char) c;
	if (spec->length < 8 || spec->length > 1024 || wanted == 0)
		return false;
	for (const char *c = spec->exclude; c != NULL && *c != '\0'; c++)
	{
		if (!isprint((unsigned char) *c))
			return false;
	}
	left = count_types(spec, ascii, sizeof(ascii));
	return spec->require_each_type ? left == wanted : left > 0;
}

/* Does the password obey? */
static bool
obeys(const PasswordSpec *spec, const SecretBuf *password)
{
	int wanted = spec->uppercase + spec->lowercase + spec->digits + spec->symbols;

	if (password->len != (size_t) spec->length || password->data[password->len] != '\0')
		return false;
	for (size_t i = 0; i < password->len; i++)
	{
		if (!is_allowed(spec, password->data[i]))
			return false;
	}
	return !spec->require_each_type || count_types(spec, password->data, password->len) == wanted;
}

static void
check_password(const PasswordSpec *spec)
{
	bool possible = is_possible(spec);
	RotorError err;
	RotorError generate_err;
	SecretBuf password;

	put_former_value(&password);
	MUST(password_spec_check(spec, &err) == possible);
	MUST(password_generate(spec, &password, &generate_err) == possible);
	if (possible)
	{
		MUST(obeys(spec, &password));
		return;
	}
	must_be_error(&err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_ARGUMENT);
	MUST(err.hint[0] != '\0');
	MUST(generate_err.code == err.code && strcmp(generate_err.message, err.message) == 0);
	must_be_wiped(&password);
}

static void
check_hex(int bytes)
{
	static const char digits[] = "0123456789abcdef";
	RotorError err;
	SecretBuf value;

	put_former_value(&value);
	if (bytes < 4 || bytes > 512)
	{
		MUST(!password_generate_hex(bytes, &value, &err));
		must_be_error(&err, ROTOR_ERROR_ARGUMENT, ROTOR_ERROR_ARGUMENT);
		MUST(err.hint[0] != '\0');
		must_be_wiped(&value);
		return;
	}
	MUST(password_generate_hex(bytes, &value, &err));
	MUST(value.len == 2 * (size_t) bytes && value.data[value.len] == '\0');
	MUST(strspn(value.data, digits) == value.len);
}

static void
check_uuid(void)
{
	static const char form[] = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
	RotorError err;
	SecretBuf value;

	put_former_value(&value);
	MUST(password_generate_uuid(&value, &err));
	MUST(value.len == sizeof(form) - 1);
	for (size_t i = 0; i <= value.len; i++)
	{
		char c = value.data[i];

		if (form[i] == 'x')
			MUST(isdigit((unsigned char) c) || (c >= 'a' && c <= 'f'));
		else if (form[i] == 'y')
			MUST(c == '8' || c == '9' || c == 'a' || c == 'b');
		else
			MUST(c == form[i]);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	uint8_t flags = take_byte(&input);
	uint32_t number = take_number(&input);
	int length = flags & FLAG_ANY_LENGTH ? (int) number : (int) (number % 64);
	char *exclude;

	use_seeded_source(take_number(&input));
	/* Of its own size, so that reading behind the NUL is noticed. */
	exclude = malloc(input.len + 1);
	MUST(exclude != NULL);
	memcpy(exclude, input.data, input.len);
	exclude[input.len] = '\0';
	if (flags & FLAG_OTHER_TYPE)
	{
		check_hex(length);
		check_uuid();
	}
	else
	{
		PasswordSpec spec = {
			.length = length,
			.uppercase = flags & FLAG_UPPERCASE,
			.lowercase = flags & FLAG_LOWERCASE,
			.digits = flags & FLAG_DIGITS,
			.symbols = flags & FLAG_SYMBOLS,
			.require_each_type = flags & FLAG_EACH_TYPE,
			.exclude = flags & FLAG_NO_LIST ? NULL : exclude,
		};

		check_password(&spec);
	}
	free(exclude);
	return 0;
}
