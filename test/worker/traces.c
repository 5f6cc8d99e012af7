/*
 * traces.c - looks for a secret in memory; see traces.h.
 */
#include "support.h"

#include "traces.h"

#define MASK 0x2a

void
unmask(const char *masked, char *to)
{
	while (*masked != '\0')
		*to++ = (char) (*masked++ ^ MASK);
	*to = '\0';
}

static size_t
count_in(const char *memory, size_t len, const char *masked)
{
	size_t masked_len = strlen(masked);
	size_t found = 0;

	for (size_t i = 0; masked_len > 0 && i + masked_len <= len; i++)
	{
		size_t j = 0;

		while (j < masked_len && memory[i + j] == (char) (masked[j] ^ MASK))
			j++;
		found += j == masked_len;
	}
	return found;
}

size_t
traces_of(const char *masked)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	char rights[8];
	unsigned long start;
	unsigned long end;
	size_t found = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL)
	{
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && strncmp(rights, "rw", 2) == 0)
		{
			/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address. */
			const char *from = (const char *) start;

			found += count_in(from, end - start, masked);
		}
	}
	(void) fclose(maps);
	return found;
}
