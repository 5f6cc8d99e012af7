/*
 * authorities.c - see authorities.h.
 */
#include "authorities.h"

#include <stddef.h>
#include <unistd.h>

const char *
authorities_file(void)
{
	/* Debian and SUSE, Red Hat, Alpine and the BSDs. */
	static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
										"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		if (access(files[i], R_OK) == 0)
			return files[i];
	}
	return "/nonexistent";
}
