/*
 * test_password.c
 *		Tests of common/password.c: what is refused, what comes out, and that it comes
 *		out uniformly.
 *
 * Statistical tests draw from a generator with a fixed seed, so their outcome is fixed
 * too; their limits are those of a chi-square test at about one in a thousand million.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "password.h"

#define UPPERCASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LOWERCASE "abcdefghijklmnopqrstuvwxyz"
#define DIGITS	  "0123456789"
#define SYMBOLS	  "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

static const char *const class_chars[] = {UPPERCASE, LOWERCASE, DIGITS, SYMBOLS};

/* The spec with the given classes, as bits in the order of class_chars. */
static PasswordSpec
spec_of(int length, int classes, const char *exclude, bool require)
{
	PasswordSpec spec = {
		.length = length,
		.uppercase = (classes & 1) != 0,
		.lowercase = (classes & 2) != 0,
		.digits = (classes & 4) != 0,
		.symbols = (classes & 8) != 0,
		.exclude = exclude,
		.require_each_type = require,
	};

	return spec;
}

/* Whether every class switched on occurs in the password. */
static bool
has_all_classes(const SecretBuf *password, int classes)
{
	for (int i = 0; i < 4; i++)
	{
		if ((classes & (1 << i)) && strpbrk(password->data, class_chars[i]) == NULL)
			return false;
	}
	return true;
}

static bool
is_allowed(char c, const PasswordSpec *spec, int classes)
{
	if (c == '\0' || (spec->exclude != NULL && strchr(spec->exclude, c) != NULL))
		return false;
	for (int i = 0; i < 4; i++)
	{
		if ((classes & (1 << i)) && strchr(class_chars[i], c) != NULL)
			return true;
	}
	return false;
}

static void
assert_password_keeps(const SecretBuf *password, const PasswordSpec *spec, int classes)
{
	assert_int_equal(password->len, spec->length);
	assert_int_equal(strlen(password->data), spec->length);
	for (size_t i = 0; i < password->len; i++)
		assert_true(is_allowed(password->data[i], spec, classes));
	if (spec->require_each_type)
		assert_true(has_all_classes(password, classes));
}

/* ---- what is refused */

typedef struct Refusal
{
	PasswordSpec spec;
	const char *message;
	const char *detail;
	const char *hint;
} Refusal;

#define LENGTH_HINT	 "Use a length from 8 to 1024."
#define CLASS_HINT	 "Exclude fewer characters, or switch that type off."
#define EXCLUDE_HINT "Passwords are ASCII: leave other characters out of the list."
#define ASCII_FAULT	 "excluded characters hold something other than printable ASCII"
#define ALL_FAULT	 "every allowed character is excluded"
#define ALL_HINT	 "Exclude fewer characters, or switch on another type."

static const Refusal refusals[] = {
	{{3, true, true, true, true, NULL, true},
	 "password length 3 is less than the 4 character types required",
	 "",
	 "Use a length of at least 8."},
	{{-1, true, false, false, false, NULL, true},
	 "password length -1 is out of range",
	 "",
	 LENGTH_HINT},
	{{3, true, true, true, true, NULL, false},
	 "password length 3 is out of range",
	 "",
	 LENGTH_HINT},
	{{4, true, true, true, true, NULL, true}, "password length 4 is out of range", "", LENGTH_HINT},
	{{7, true, true, true, true, NULL, true}, "password length 7 is out of range", "", LENGTH_HINT},
	{{0, true, true, true, true, NULL, false},
	 "password length 0 is out of range",
	 "",
	 LENGTH_HINT},
	{{1025, true, true, true, true, NULL, true},
	 "password length 1025 is out of range",
	 "",
	 LENGTH_HINT},
	{{INT32_MIN, true, true, true, true, NULL, false},
	 "password length -2147483648 is out of range",
	 "",
	 LENGTH_HINT},
	{{INT32_MAX, true, true, true, true, NULL, true},
	 "password length 2147483647 is out of range",
	 "",
	 LENGTH_HINT},
	{{16, false, false, false, false, NULL, false},
	 "all character types are switched off",
	 "",
	 "Switch on uppercase, lowercase, digits or symbols."},
	{{16, false, false, false, false, NULL, true},
	 "all character types are switched off",
	 "",
	 "Switch on uppercase, lowercase, digits or symbols."},
	{{16, true, true, true, true, UPPERCASE, true},
	 "every character of the required type \"uppercase\" is excluded",
	 "",
	 CLASS_HINT},
	{{16, true, true, true, true, "x" LOWERCASE, true},
	 "every character of the required type \"lowercase\" is excluded",
	 "",
	 CLASS_HINT},
	{{16, true, true, true, true, DIGITS "ab", true},
	 "every character of the required type \"digits\" is excluded",
	 "",
	 CLASS_HINT},
	{{16, true, true, true, true, SYMBOLS SYMBOLS, true},
	 "every character of the required type \"symbols\" is excluded",
	 "",
	 CLASS_HINT},
	{{16, false, false, true, false, DIGITS, false}, ALL_FAULT, "", ALL_HINT},
	{{16, true, true, true, true, UPPERCASE LOWERCASE DIGITS SYMBOLS, false},
	 ALL_FAULT,
	 "",
	 ALL_HINT},
	{{16, true, true, true, true, "a\tb", true}, ASCII_FAULT, "It is at byte 2.", EXCLUDE_HINT},
	{{16, true, true, true, true, "\x7f", true}, ASCII_FAULT, "It is at byte 1.", EXCLUDE_HINT},
	{{16, true, true, true, true, "abc\xc3\xa4", true},
	 ASCII_FAULT,
	 "It is at byte 4.",
	 EXCLUDE_HINT},
	{{16, true, true, true, true, UPPERCASE "\n", true},
	 ASCII_FAULT,
	 "It is at byte 27.",
	 EXCLUDE_HINT},
};

TEST(each_impossible_spec_is_refused_with_its_reason_and_a_hint)
{
	for (size_t i = 0; i < COUNT_OF(refusals); i++)
	{
		RotorError err = fresh_error();

		assert_false(password_spec_check(&refusals[i].spec, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_string_equal(err.message, refusals[i].message);
		assert_string_equal(err.detail, refusals[i].detail);
		assert_string_equal(err.hint, refusals[i].hint);
	}
}

TEST(generating_refuses_what_the_check_refuses_and_wipes_the_output)
{
	for (size_t i = 0; i < COUNT_OF(refusals); i++)
	{
		SecretBuf out;
		RotorError err = fresh_error();

		put_former_value(&out);
		assert_false(password_generate(&refusals[i].spec, &out, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_string_equal(err.message, refusals[i].message);
		assert_wiped(&out);
	}
}

TEST(possible_specs_are_accepted_and_leave_the_error_alone)
{
	static const PasswordSpec specs[] = {
		{8, true, true, true, true, NULL, true},
		{1024, true, true, true, true, "", true},
		{8, false, false, true, false, "012345678", true},
		{8, true, false, false, false, NULL, false},
		/* A class excluded wholly, but not required. */
		{8, true, true, true, true, DIGITS, false},
		/* A class excluded wholly, but off. */
		{8, true, true, false, true, DIGITS, true},
		/* A space and repetitions say nothing new. */
		{8, true, true, true, true, "  aaa  aaa", true},
	};

	for (size_t i = 0; i < COUNT_OF(specs); i++)
	{
		RotorError err = fresh_error();

		assert_true(password_spec_check(&specs[i], &err));
		assert_string_equal(err.message, "untouched");
	}
}

/* ---- what comes out */

TEST(each_combination_of_classes_gives_all_its_characters_and_no_other)
{
	use_seeded_source(2);
	for (int classes = 1; classes < 16; classes++)
	{
		for (int require = 0; require <= 1; require++)
		{
			PasswordSpec spec = spec_of(1024, classes, NULL, require != 0);
			bool seen[256] = {false};
			SecretBuf out = {0};
			RotorError err = fresh_error();

			for (int round = 0; round < 8; round++)
			{
				assert_true(password_generate(&spec, &out, &err));
				assert_password_keeps(&out, &spec, classes);
				for (size_t i = 0; i < out.len; i++)
					seen[(uint8_t) out.data[i]] = true;
			}
			for (int c = 0; c < 256; c++)
				assert_int_equal(seen[c], c < 128 && is_allowed((char) c, &spec, classes));
		}
	}
}

TEST(each_excluded_character_never_comes_and_all_others_do)
{
	use_seeded_source(3);
	for (int excluded = ' '; excluded <= '~'; excluded++)
	{
		const char exclude[] = {(char) excluded, '\0'};
		PasswordSpec spec = spec_of(1024, 15, exclude, true);
		bool seen[128] = {false};
		SecretBuf out = {0};
		RotorError err = fresh_error();

		for (int round = 0; round < 4; round++)
		{
			assert_true(password_generate(&spec, &out, &err));
			assert_password_keeps(&out, &spec, 15);
			for (size_t i = 0; i < out.len; i++)
				seen[(uint8_t) out.data[i]] = true;
		}
		for (int c = '!'; c <= '~'; c++)
			assert_int_equal(seen[c], c != excluded);
	}
}

TEST(random_exclusion_sets_are_kept)
{
	use_seeded_source(4);
	for (int round = 0; round < 3000; round++)
	{
		char exclude[64];
		uint8_t choice[66];
		RotorError err = fresh_error();
		RotorError refused = fresh_error();
		SecretBuf out = {0};
		PasswordSpec spec;
		int classes;
		size_t count;

		assert_true(random_bytes(choice, sizeof(choice), &err));
		count = choice[0] % sizeof(exclude);
		classes = 1 + choice[1] % 15;
		for (size_t i = 0; i < count; i++)
			exclude[i] = (char) (' ' + choice[2 + i] % 95);
		exclude[count] = '\0';
		spec = spec_of(8 + choice[65] % 32, classes, exclude, (choice[64] & 1) != 0);

		if (password_spec_check(&spec, &refused))
		{
			assert_true(password_generate(&spec, &out, &err));
			assert_password_keeps(&out, &spec, classes);
		}
		else
			assert_error(&refused, ROTOR_ERROR_ARGUMENT);
	}
}

TEST(every_length_from_8_to_1024_comes_out_exactly)
{
	use_seeded_source(5);
	for (int length = PASSWORD_MIN_LENGTH; length <= PASSWORD_MAX_LENGTH; length++)
	{
		PasswordSpec spec = spec_of(length, 15, NULL, true);
		SecretBuf out = {0};
		RotorError err = fresh_error();

		assert_true(password_generate(&spec, &out, &err));
		assert_password_keeps(&out, &spec, 15);
		assert_zero(out.data + out.len, sizeof(out.data) - out.len);
	}
}

TEST(a_single_allowed_character_makes_the_only_possible_password)
{
	PasswordSpec spec = spec_of(8, 4, "012345678", true);
	SecretBuf out = {0};
	RotorError err = fresh_error();

	assert_true(password_generate(&spec, &out, &err));
	assert_string_equal(out.data, "99999999");
}

TEST(a_new_password_leaves_nothing_of_the_value_before_it)
{
	PasswordSpec spec = spec_of(16, 15, NULL, true);
	SecretBuf out;
	RotorError err = fresh_error();

	put_former_value(&out);
	assert_true(password_generate(&spec, &out, &err));
	assert_password_keeps(&out, &spec, 15);
	assert_zero(out.data + 16, sizeof(out.data) - 16);
}

TEST(real_passwords_do_not_repeat)
{
	enum
	{
		ROUNDS = 2000
	};
	static char seen[ROUNDS][13];
	PasswordSpec spec = spec_of(12, 15, NULL, true);
	SecretBuf out = {0};
	RotorError err = fresh_error();

	for (int i = 0; i < ROUNDS; i++)
	{
		assert_true(password_generate(&spec, &out, &err));
		memcpy(seen[i], out.data, 13);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(seen[i], seen[j]);
	}
}

/* ---- that it comes out uniformly */

/* The chi-square statistic of counts that should all be equal. */
static double
chi_square(const unsigned *counts, size_t count)
{
	double total = 0;
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		total += counts[i];
	for (size_t i = 0; i < count; i++)
	{
		double difference = counts[i] - total / (double) count;

		sum += difference * difference;
	}
	return sum / (total / (double) count);
}

/* Asserts that the statistic is within six standard deviations, on both sides. */
static void
assert_uniform(const unsigned *counts, size_t count)
{
	double freedom = (double) count - 1;
	double statistic = chi_square(counts, count);

	assert_true(fabs(statistic - freedom) < 6 * sqrt(2 * freedom));
}

TEST(characters_are_uniform_for_every_size_of_alphabet)
{
	static const char all[] = DIGITS SYMBOLS UPPERCASE LOWERCASE;

	/* Sizes 94 down to 2, by excluding ever more. */
	use_seeded_source(6);
	for (size_t excluded = 0; excluded <= 92; excluded++)
	{
		char exclude[96] = {0};
		unsigned counts[128] = {0};
		unsigned packed[94];
		size_t used = 0;
		PasswordSpec spec = spec_of(1024, 15, exclude, false);
		SecretBuf out = {0};
		RotorError err = fresh_error();

		memcpy(exclude, all, excluded);
		for (int round = 0; round < 50; round++)
		{
			assert_true(password_generate(&spec, &out, &err));
			for (size_t i = 0; i < out.len; i++)
				counts[(uint8_t) out.data[i]]++;
		}
		for (const char *c = all + excluded; *c != '\0'; c++)
			packed[used++] = counts[(uint8_t) *c];
		assert_int_equal(used, 94 - excluded);
		assert_uniform(packed, used);
	}
}

TEST(positions_prefer_no_class)
{
	/* The shortest length, where putting in a missing class would show most. */
	PasswordSpec spec = spec_of(8, 15, NULL, true);
	unsigned counts[4][8] = {{0}};
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_seeded_source(7);
	for (int round = 0; round < 200000; round++)
	{
		assert_true(password_generate(&spec, &out, &err));
		for (int position = 0; position < 8; position++)
		{
			for (int class = 0; class < 4; class ++)
				counts[class][position] += strchr(class_chars[class], out.data[position]) != NULL;
		}
	}
	for (int class = 0; class < 4; class ++)
	{
		/* Each class against its own mean; occurrences at different positions repel a little. */
		double freedom = 7;

		assert_true(chi_square(counts[class], 8) < freedom + 8 * sqrt(2 * freedom));
	}
}

/* The number, in base 3, of a password over the three characters. */
static unsigned
number_of(const char *password, const char *three)
{
	unsigned number = 0;

	for (int i = 0; i < 8; i++)
		number = 3 * number + (unsigned) (strchr(three, password[i]) - three);
	return number;
}

TEST(every_allowed_password_is_equally_likely)
{
	/*
	 * Over three characters of three classes there are 3^8 = 6561 values of length 8, of
	 * which 3 * 2^8 - 3 = 765 lack a class: the other 5796 must come, and equally often.
	 */
	PasswordSpec spec =
		spec_of(8, 7, "BCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz123456789", true);
	static unsigned counts[6561];
	static unsigned packed[6561];
	size_t used = 0;
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_seeded_source(8);
	for (int round = 0; round < 400000; round++)
	{
		assert_true(password_generate(&spec, &out, &err));
		counts[number_of(out.data, "Aa0")]++;
	}
	for (size_t i = 0; i < COUNT_OF(counts); i++)
	{
		if (counts[i] > 0)
			packed[used++] = counts[i];
	}
	assert_int_equal(used, 5796);
	assert_uniform(packed, used);
}

/* ---- the bound on tries */

/* The probability that 8 characters hold all classes; a size of 0 is a class that is off. */
static double
acceptance(const int sizes[4])
{
	int total = sizes[0] + sizes[1] + sizes[2] + sizes[3];
	double sum = 0;

	for (int subset = 0; subset < 16; subset++)
	{
		int left = total;
		bool counted = true;
		double power;

		for (int i = 0; i < 4; i++)
		{
			if (subset & (1 << i))
			{
				counted = counted && sizes[i] > 0;
				left -= sizes[i];
			}
		}
		if (!counted)
			continue;
		power = (double) left / total;
		power *= power;
		power *= power;
		power *= power;
		sum += __builtin_popcount((unsigned) subset) % 2 ? -power : power;
	}
	return sum;
}

TEST(a_draw_is_accepted_with_more_than_six_in_a_thousand_whatever_is_excluded)
{
	double least = 1;
	int sizes[4];

	/* Uppercase and lowercase are alike, so one order of the two is enough. */
	for (sizes[0] = 0; sizes[0] <= 26; sizes[0]++)
		for (sizes[1] = 0; sizes[1] <= sizes[0]; sizes[1]++)
			for (sizes[2] = 0; sizes[2] <= 10; sizes[2]++)
				for (sizes[3] = 0; sizes[3] <= 32; sizes[3]++)
				{
					if (sizes[0] + sizes[1] + sizes[2] + sizes[3] > 0)
						least = fmin(least, acceptance(sizes));
				}
	assert_true(least > 0.0063);
	assert_true(least < 0.0064);
	/* What password.c relies on, with its 16384 tries. */
	assert_true(16384 * log2(1 - least) < -149);
}

TEST(the_spec_that_is_hardest_to_meet_is_met)
{
	PasswordSpec spec =
		spec_of(8, 15, "BCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz123456789", true);
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_seeded_source(9);
	for (int round = 0; round < 1000; round++)
	{
		assert_true(password_generate(&spec, &out, &err));
		assert_password_keeps(&out, &spec, 15);
	}
}

TEST(a_source_stuck_on_an_accepted_byte_is_found_out)
{
	static const int lengths[] = {8, 32, 1024};

	for (size_t i = 0; i < COUNT_OF(lengths); i++)
	{
		PasswordSpec spec = spec_of(lengths[i], 15, NULL, true);
		SecretBuf out;
		RotorError err = fresh_error();

		use_constant_source(0);
		put_former_value(&out);
		assert_false(password_generate(&spec, &out, &err));
		assert_error(&err, ROTOR_ERROR_CRYPTO);
		assert_string_equal(err.message, "random source is not random");
		assert_wiped(&out);
	}
}

TEST(a_source_stuck_on_a_rejected_byte_is_found_out)
{
	static const int lengths[] = {8, 32, 1024};

	for (size_t i = 0; i < COUNT_OF(lengths); i++)
	{
		PasswordSpec spec = spec_of(lengths[i], 15, NULL, false);
		SecretBuf out;
		RotorError err = fresh_error();

		use_constant_source(255);
		put_former_value(&out);
		assert_false(password_generate(&spec, &out, &err));
		assert_error(&err, ROTOR_ERROR_CRYPTO);
		assert_string_equal(err.message, "random source is not random");
		assert_wiped(&out);
	}
}

TEST(a_byte_selects_its_character_and_the_remainder_selects_none)
{
	/* 94 characters fit 256 values twice, which leaves 188 .. 255 to be rejected. */
	static const uint8_t bytes[] = {0, 188, 25, 255, 26, 94, 93, 187, 200, 52, 61, 62, 0, 0};
	PasswordSpec spec = spec_of(8, 15, NULL, false);
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_scripted_source(bytes, sizeof(bytes));
	assert_true(password_generate(&spec, &out, &err));
	assert_string_equal(out.data, "AZaA~~09");
}

/* ---- a source that fails */

static bool
generate_longest(SecretBuf *out, RotorError *err)
{
	PasswordSpec spec = spec_of(1024, 15, NULL, true);

	return password_generate(&spec, out, err);
}

static bool
generate_usual(SecretBuf *out, RotorError *err)
{
	PasswordSpec spec = spec_of(32, 15, NULL, true);

	return password_generate(&spec, out, err);
}

static bool
generate_hex(SecretBuf *out, RotorError *err)
{
	return password_generate_hex(16, out, err);
}

TEST(when_the_source_fails_at_any_byte_each_generator_fails_and_wipes)
{
	static const struct
	{
		bool (*generate)(SecretBuf *out, RotorError *err);
		size_t needs; /* random bytes, at the least */
	} generators[] = {
		{generate_longest, 1024},
		{generate_usual, 32},
		{generate_hex, 16},
		{password_generate_uuid, 16},
	};

	for (size_t i = 0; i < COUNT_OF(generators); i++)
	{
		for (size_t ready = 0; ready < generators[i].needs; ready++)
		{
			SecretBuf out;
			RotorError err = fresh_error();

			use_failing_source(1, ready);
			put_former_value(&out);
			assert_false(generators[i].generate(&out, &err));
			assert_error(&err, ROTOR_ERROR_CRYPTO);
			assert_string_equal(err.message, "could not draw random bytes");
			assert_wiped(&out);
			assert_int_equal(source_calls(), 1);
		}
	}
}

TEST(when_the_source_fails_while_drawing_again_the_generator_fails)
{
	/* The spec that is hardest to meet draws again so often that it needs many calls. */
	PasswordSpec spec =
		spec_of(8, 15, "BCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz123456789", true);
	int failures = 0;

	for (size_t ready = 1; ready < 100; ready++)
	{
		SecretBuf out;
		RotorError err = fresh_error();

		use_failing_source(2, ready);
		put_former_value(&out);
		if (!password_generate(&spec, &out, &err))
		{
			failures++;
			assert_error(&err, ROTOR_ERROR_CRYPTO);
			assert_wiped(&out);
			assert_int_equal(source_calls(), 2);
		}
	}
	assert_true(failures > 0);
}

/* ---- hexadecimal and UUID */

TEST(hex_is_the_bytes_in_lower_case)
{
	SecretBuf out;
	RotorError err = fresh_error();

	use_scripted_source("\x00\x9a\xff\x10", 4);
	put_former_value(&out);
	assert_true(password_generate_hex(4, &out, &err));
	assert_int_equal(out.len, 8);
	assert_string_equal(out.data, "009aff10");
	assert_zero(out.data + 8, sizeof(out.data) - 8);
}

TEST(hex_of_the_largest_size_fits)
{
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_counting_source();
	assert_true(password_generate_hex(PASSWORD_HEX_MAX_BYTES, &out, &err));
	assert_int_equal(out.len, 2 * PASSWORD_HEX_MAX_BYTES);
	assert_int_equal(strlen(out.data), 2 * PASSWORD_HEX_MAX_BYTES);
	assert_memory_equal(out.data + 1020, "feff", 4);
}

TEST(hex_sizes_out_of_range_are_refused)
{
	static const struct
	{
		int bytes;
		const char *message;
	} cases[] = {
		{3, "number of random bytes 3 is out of range"},
		{0, "number of random bytes 0 is out of range"},
		{-16, "number of random bytes -16 is out of range"},
		{513, "number of random bytes 513 is out of range"},
		{INT32_MAX, "number of random bytes 2147483647 is out of range"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
	{
		SecretBuf out;
		RotorError err = fresh_error();

		put_former_value(&out);
		assert_false(password_generate_hex(cases[i].bytes, &out, &err));
		assert_error(&err, ROTOR_ERROR_ARGUMENT);
		assert_string_equal(err.message, cases[i].message);
		assert_string_equal(err.hint, "Use 4 to 512 bytes.");
		assert_wiped(&out);
	}
}

TEST(a_uuid_of_zeros_shows_only_version_and_variant)
{
	SecretBuf out;
	RotorError err = fresh_error();

	use_constant_source(0);
	put_former_value(&out);
	assert_true(password_generate_uuid(&out, &err));
	assert_string_equal(out.data, "00000000-0000-4000-8000-000000000000");
	assert_int_equal(out.len, 36);
	assert_zero(out.data + 36, sizeof(out.data) - 36);
}

TEST(a_uuid_of_ones_shows_only_version_and_variant)
{
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_constant_source(0xff);
	assert_true(password_generate_uuid(&out, &err));
	assert_string_equal(out.data, "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

TEST(the_uuid_of_rfc_9562_comes_from_its_random_bits)
{
	/* Appendix A.3 of the RFC, with the six fixed bits set to what they must not stay. */
	static const uint8_t bytes[16] = {0x91, 0x91, 0x08, 0xf7, 0x52, 0xd1, 0xf3, 0x20,
									  0x5b, 0xac, 0xf8, 0x47, 0xdb, 0x41, 0x48, 0xa8};
	SecretBuf out = {0};
	RotorError err = fresh_error();

	use_scripted_source(bytes, sizeof(bytes));
	assert_true(password_generate_uuid(&out, &err));
	assert_string_equal(out.data, "919108f7-52d1-4320-9bac-f847db4148a8");
}

#define PASSWORD_TEST(name) cmocka_unit_test_setup_teardown(name, use_real_source, use_real_source)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		PASSWORD_TEST(each_impossible_spec_is_refused_with_its_reason_and_a_hint),
		PASSWORD_TEST(generating_refuses_what_the_check_refuses_and_wipes_the_output),
		PASSWORD_TEST(possible_specs_are_accepted_and_leave_the_error_alone),
		PASSWORD_TEST(each_combination_of_classes_gives_all_its_characters_and_no_other),
		PASSWORD_TEST(each_excluded_character_never_comes_and_all_others_do),
		PASSWORD_TEST(random_exclusion_sets_are_kept),
		PASSWORD_TEST(every_length_from_8_to_1024_comes_out_exactly),
		PASSWORD_TEST(a_single_allowed_character_makes_the_only_possible_password),
		PASSWORD_TEST(a_new_password_leaves_nothing_of_the_value_before_it),
		PASSWORD_TEST(real_passwords_do_not_repeat),
		PASSWORD_TEST(characters_are_uniform_for_every_size_of_alphabet),
		PASSWORD_TEST(positions_prefer_no_class),
		PASSWORD_TEST(every_allowed_password_is_equally_likely),
		PASSWORD_TEST(a_draw_is_accepted_with_more_than_six_in_a_thousand_whatever_is_excluded),
		PASSWORD_TEST(the_spec_that_is_hardest_to_meet_is_met),
		PASSWORD_TEST(a_source_stuck_on_an_accepted_byte_is_found_out),
		PASSWORD_TEST(a_source_stuck_on_a_rejected_byte_is_found_out),
		PASSWORD_TEST(a_byte_selects_its_character_and_the_remainder_selects_none),
		PASSWORD_TEST(when_the_source_fails_at_any_byte_each_generator_fails_and_wipes),
		PASSWORD_TEST(when_the_source_fails_while_drawing_again_the_generator_fails),
		PASSWORD_TEST(hex_is_the_bytes_in_lower_case),
		PASSWORD_TEST(hex_of_the_largest_size_fits),
		PASSWORD_TEST(hex_sizes_out_of_range_are_refused),
		PASSWORD_TEST(a_uuid_of_zeros_shows_only_version_and_variant),
		PASSWORD_TEST(a_uuid_of_ones_shows_only_version_and_variant),
		PASSWORD_TEST(the_uuid_of_rfc_9562_comes_from_its_random_bits),
	};

	return cmocka_run_group_tests_name("password", tests, NULL, NULL);
}
