/*
 * http_client.c - one HTTP request, by libcurl; see http_client.h.
 *
 * Each thread has one easy handle, kept for its open connections and freed when the thread ends. All of
 * the handle's options are set anew for each request, so nothing of one request reaches the next.
 *
 * Whether a request can have reached the peer is not read from libcurl's error codes: a time-out has the
 * same code before and after. before_request() is called by libcurl once a connection is there, TLS
 * included, and immediately before the first byte of a request; never called means never sent.
 *
 * What libcurl allocates is wiped when it frees it (wipe_heap.h): what a request and its answer held when
 * http_send() returns, the signing key when the thread or the kept connection ends. Errors hold the host's name and
 * libcurl's fixed texts, never a path, a query string, a header or a body.
 */
#include "http_client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "secret_buf.h"
#include "wipe_heap.h"

#define MAX_HEADER_BYTES  ((size_t) 64 * 1024)
#define MAX_RETRY_AFTER_S 3600
#define OPEN_CONNECTIONS  2L
#define HOST_SIZE		  256
#define FIRST_BODY_BYTES  4096

/* The parts of a URL that matter before it is used. */
typedef struct Peer
{
	bool https;
	bool on_link; /* loopback or link-local: never by a proxy */
	bool loopback;
	bool has_user; /* or a password */
	char host[HOST_SIZE];
} Peer;

/* What one request gathers. */
typedef struct Transfer
{
	const HttpRequest *request;
	HttpAnswer *answer;
	size_t body_size;
	size_t header_bytes;
	int begun; /* how often a request was about to be written to a connection */
	bool repeated;
	bool too_long;
} Transfer;

static pthread_key_t handle_key;
static pthread_once_t init_once = PTHREAD_ONCE_INIT;
static const char *init_fault = "http_client_init() was not called";
static bool hashed_ca_dir;

static void
free_handle(void *handle)
{
	curl_easy_cleanup(handle);
}

/* Whether libcurl's folder of certificates is one that OpenSSL can look certificates up in. */
static bool
ca_dir_is_hashed(const char *path)
{
	DIR *dir = path != NULL ? opendir(path) : NULL;
	const struct dirent *entry;
	bool hashed = false;

	if (dir == NULL)
		return false;
	while (!hashed &&
		   /* cppcheck-suppress readdirCalled ; the stream is this function's own */
		   (entry = readdir(dir)) != NULL) /* NOLINT(concurrency-mt-unsafe): a folder of its own */
	{
		size_t len = strspn(entry->d_name, "0123456789abcdef");

		hashed = len == 8 && strcmp(entry->d_name + len, ".0") == 0;
	}
	closedir(dir);
	return hashed;
}

static void
init(void)
{
	const curl_version_info_data *version = curl_version_info(CURLVERSION_NOW);

	if (version->version_num < 0x075700)
		init_fault = "libcurl is older than 7.87.0";
	else if ((version->features & CURL_VERSION_SSL) == 0)
		init_fault = "libcurl was built without TLS";
	else if ((version->features & CURL_VERSION_ASYNCHDNS) == 0)
		init_fault = "libcurl was built without an asynchronous resolver";
	else if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, wipe_malloc, wipe_free, wipe_realloc,
								  wipe_strdup, wipe_calloc) != CURLE_OK ||
			 pthread_key_create(&handle_key, free_handle) != 0)
		init_fault = "libcurl could not be initialized";
	else
		init_fault = NULL;
	hashed_ca_dir = ca_dir_is_hashed(version->capath);
}

bool
http_client_init(RotorError *err)
{
	pthread_once(&init_once, init);
	if (init_fault != NULL)
		return error_set(err, ROTOR_ERROR_NOT_FOUND, "HTTP cannot be used: %s", init_fault);
	return true;
}

void
http_answer_free(HttpAnswer *answer)
{
	wipe_free(answer->body);
	memset(answer, 0, sizeof(*answer));
}

/* Sets loopback and on_link of a host as curl's URL parser gives it: numbers are in their usual form. */
static void
classify_host(Peer *peer)
{
	struct in_addr v4;
	struct in6_addr v6;
	char name[HOST_SIZE];
	size_t len = strlen(peer->host);

	peer->loopback = peer->on_link = strcasecmp(peer->host, "localhost") == 0;
	if (inet_pton(AF_INET, peer->host, &v4) == 1)
	{
		uint32_t address = ntohl(v4.s_addr);

		peer->loopback = address >> 24 == 127;
		peer->on_link = peer->loopback || address >> 16 == 0xa9fe; /* 169.254.0.0/16 */
	}
	else if (len > 2 && peer->host[0] == '[')
	{
		memcpy(name, peer->host + 1, len - 2);
		name[len - 2] = '\0';
		if (inet_pton(AF_INET6, name, &v6) != 1)
			return;
		peer->loopback = IN6_IS_ADDR_LOOPBACK(&v6);
		/* fd00:ec2::/32 has Amazon's metadata, which is as near as a link-local address. */
		peer->on_link = peer->loopback || IN6_IS_ADDR_LINKLOCAL(&v6) ||
						memcmp(v6.s6_addr, "\xfd\x00\x0e\xc2", 4) == 0;
	}
}

static CURLUcode
copy_part(CURLU *url, CURLUPart part, char *to, size_t size)
{
	char *text = NULL;
	CURLUcode code = curl_url_get(url, part, &text, 0);

	if (code == CURLUE_OK && strlen(text) >= size)
		code = CURLUE_MALFORMED_INPUT;
	if (code == CURLUE_OK)
		memcpy(to, text, strlen(text) + 1);
	curl_free(text);
	return code;
}

/* Sets *has if the URL has that part. */
static CURLUcode
find_part(CURLU *url, CURLUPart part, bool *has)
{
	char *text = NULL;
	CURLUcode code = curl_url_get(url, part, &text, 0);

	*has = *has || code == CURLUE_OK;
	curl_free(text);
	return code == CURLUE_OUT_OF_MEMORY ? code : CURLUE_OK;
}

/* Takes the URL apart as far as it matters. */
static bool
split_url(CURLU *url, const char *text, char *scheme, size_t scheme_size, Peer *peer,
		  RotorError *err)
{
	CURLUcode code = CURLUE_OUT_OF_MEMORY;

	if (url != NULL)
		code = text != NULL ? curl_url_set(url, CURLUPART_URL, text, 0) : CURLUE_MALFORMED_INPUT;
	if (code == CURLUE_OK)
		code = copy_part(url, CURLUPART_SCHEME, scheme, scheme_size);
	if (code == CURLUE_OK)
		code = copy_part(url, CURLUPART_HOST, peer->host, sizeof(peer->host));
	if (code == CURLUE_OK)
		code = find_part(url, CURLUPART_USER, &peer->has_user);
	if (code == CURLUE_OK)
		code = find_part(url, CURLUPART_PASSWORD, &peer->has_user);
	if (code == CURLUE_OK)
		return true;
	if (code == CURLUE_OUT_OF_MEMORY)
		return error_set(err, ROTOR_ERROR_SPACE, "out of memory");
	error_set(err, ROTOR_ERROR_ARGUMENT, "not a URL that can be used");
	return error_hint(err, "Write it as https://host/path.");
}

/* Fills *peer, or says why the URL may not be used. */
static bool
judge_url(const HttpRequest *request, Peer *peer, RotorError *err)
{
	CURLU *url = curl_url();
	char scheme[16];
	bool ok = false;

	memset(peer, 0, sizeof(*peer));
	if (!split_url(url, request->url, scheme, sizeof(scheme), peer, err))
		goto cleanup;
	classify_host(peer);
	peer->https = strcmp(scheme, "https") == 0;
	if (peer->has_user)
		error_set(err, ROTOR_ERROR_ARGUMENT, "URL of %s holds a user name or password", peer->host);
	else if (!peer->https && strcmp(scheme, "http") != 0)
		error_set(err, ROTOR_ERROR_ARGUMENT, "URL of %s is not https", peer->host);
	else if (!peer->https && !peer->loopback && !request->allow_http)
	{
		error_set(err, ROTOR_ERROR_ARGUMENT, "plain http to %s is not allowed", peer->host);
		error_hint(err, "Use https; plain http is only for this machine itself.");
	}
	else
		ok = true;

cleanup:
	curl_url_cleanup(url);
	return ok;
}

static bool
judge_method(const char *method, RotorError *err)
{
	size_t len = method != NULL ? strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;

	if (len == 0 || method[len] != '\0')
		return error_set(err, ROTOR_ERROR_ARGUMENT, "not an HTTP method");
	return true;
}

/* A line break in a header would end it and begin another one. */
static bool
judge_header(const char *header, RotorError *err)
{
	const char *colon = strchr(header, ':');

	for (const char *c = header; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' && *c != '\t')
			return error_set(err, ROTOR_ERROR_ARGUMENT, "an HTTP header holds a control character");
	}
	if (colon == NULL || colon == header)
		return error_set(err, ROTOR_ERROR_ARGUMENT, "an HTTP header has no name");
	return true;
}

static bool
build_headers(const HttpRequest *request, struct curl_slist **list, RotorError *err)
{
	for (int i = 0; i < HTTP_MAX_HEADERS && request->headers[i] != NULL; i++)
	{
		struct curl_slist *longer;

		if (!judge_header(request->headers[i], err))
			return false;
		longer = curl_slist_append(*list, request->headers[i]);
		if (longer == NULL)
			return error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		*list = longer;
	}
	return true;
}

/* A read may be sent twice; anything else must not be, whatever libcurl thinks of its connection. */
static bool
may_repeat(const HttpRequest *request)
{
	if (request->once)
		return false;
	return request->repeatable || strcmp(request->method, "GET") == 0 ||
		   strcmp(request->method, "LIST") == 0;
}

/*
 * libcurl calls it just before it writes a request. When a kept connection turns out to be closed, libcurl
 * writes the same request to a new one, though the peer may have carried out the first.
 */
static int
before_request(void *transfer_, char *remote_ip __attribute__((unused)),
			   char *local_ip __attribute__((unused)), int remote_port __attribute__((unused)),
			   int local_port __attribute__((unused)))
{
	Transfer *transfer = transfer_;

	if (transfer->begun++ > 0 && !may_repeat(transfer->request))
	{
		transfer->repeated = true;
		return CURL_PREREQFUNC_ABORT;
	}
	return CURL_PREREQFUNC_OK;
}

static size_t
take_header(char *data __attribute__((unused)), size_t size, size_t count, void *transfer_)
{
	Transfer *transfer = transfer_;

	transfer->header_bytes += size * count;
	if (transfer->header_bytes <= MAX_HEADER_BYTES)
		return size * count;
	transfer->too_long = true;
	return 0;
}

static size_t
take_body(char *data, size_t size, size_t count, void *transfer_)
{
	Transfer *transfer = transfer_;
	HttpAnswer *answer = transfer->answer;
	size_t len = size * count;

	if (len > HTTP_MAX_ANSWER - answer->body_len)
	{
		transfer->too_long = true;
		return 0;
	}
	if (answer->body_len + len + 1 > transfer->body_size)
	{
		size_t wanted = transfer->body_size > 0 ? transfer->body_size : FIRST_BODY_BYTES;
		char *grown;

		while (wanted < answer->body_len + len + 1)
			wanted *= 2;
		grown = wipe_realloc(answer->body, wanted);
		if (grown == NULL)
			return 0;
		answer->body = grown;
		transfer->body_size = wanted;
	}
	memcpy(answer->body + answer->body_len, data, len);
	answer->body_len += len;
	answer->body[answer->body_len] = '\0';
	return len;
}

static CURL *
thread_handle(void)
{
	CURL *handle = pthread_getspecific(handle_key);

	if (handle == NULL)
	{
		handle = curl_easy_init();
		if (handle != NULL && pthread_setspecific(handle_key, handle) != 0)
		{
			curl_easy_cleanup(handle);
			return NULL;
		}
	}
	else
		curl_easy_reset(handle);
	return handle;
}

/* Sets an option; on failure remembers it. */
#define SET(option, value) ok = ok && curl_easy_setopt(curl, option, value) == CURLE_OK

static bool
set_connection(CURL *curl, const HttpRequest *request, const Peer *peer, long left_ms)
{
	bool ok = true;

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_PROTOCOLS_STR, peer->https ? "https" : "http");
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, left_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, left_ms);
	/* Without it libcurl waits, past the deadline, for a resolver that hangs. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_MAXCONNECTS, OPEN_CONNECTIONS);
	/* A kept one may be dead, which is found out by sending. */
	SET(CURLOPT_FRESH_CONNECT, request->once ? 1L : 0L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE); /* a proxy gets none of our headers */
	/* In plain http a proxy would read what is sent; through https it only carries it. */
	if (peer->on_link || !peer->https)
		SET(CURLOPT_PROXY, "");

	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (request->ca_file != NULL)
	{
		SET(CURLOPT_CAINFO, request->ca_file);
		SET(CURLOPT_CAPATH, (char *) NULL);
	}
	else if (hashed_ca_dir)
		/* Certificates are looked up one by one; the bundle would cost each thread megabytes. */
		SET(CURLOPT_CAINFO, (char *) NULL);
	return ok;
}

static bool
set_request(CURL *curl, const HttpRequest *request, struct curl_slist *headers)
{
	bool ok = true;
	bool get = strcmp(request->method, "GET") == 0;

	/* PUT and POST without a body still say that its length is 0. */
	if (request->body != NULL || strcmp(request->method, "PUT") == 0 ||
		strcmp(request->method, "POST") == 0)
	{
		SET(CURLOPT_POSTFIELDSIZE_LARGE,
			(curl_off_t) (request->body != NULL ? request->body_len : 0));
		SET(CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
	}
	else
		SET(CURLOPT_HTTPGET, 1L);
	if (!get || request->body != NULL)
		SET(CURLOPT_CUSTOMREQUEST, request->method);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_USERAGENT, "rotor");
	if (request->aws_sigv4 != NULL)
	{
		SET(CURLOPT_AWS_SIGV4, request->aws_sigv4);
		SET(CURLOPT_USERPWD, request->aws_userpwd);
	}
	return ok;
}

static bool
set_callbacks(CURL *curl, Transfer *transfer, char *words)
{
	bool ok = true;

	SET(CURLOPT_ERRORBUFFER, words);
	SET(CURLOPT_PREREQFUNCTION, before_request);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, transfer);
	return ok;
}

static void
read_headers(CURL *curl, HttpAnswer *answer)
{
	struct curl_header *header;
	curl_off_t seconds = 0;

	(void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
	if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
		answer->retry_after_ms =
			1000 * (long) (seconds < MAX_RETRY_AFTER_S ? seconds : MAX_RETRY_AFTER_S);
	if (curl_easy_header(curl, "x-amzn-errortype", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
		(void) snprintf(answer->error_type, sizeof(answer->error_type), "%s", header->value);
}

/* The code's usual text, or libcurl's words for this case where they cannot quote a request or an answer. */
static HttpResult
explain(CURLcode code, const Transfer *transfer, const Peer *peer, const char *words,
		RotorError *err)
{
	/* Once sent, the same codes are about what the peer says: an answer that is not HTTP, say. */
	if (transfer->begun == 0 && (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL))
	{
		error_set(err, ROTOR_ERROR_ARGUMENT, "not a URL that can be used");
		return HTTP_BAD;
	}
	if (transfer->begun == 0)
	{
		error_set(err, ROTOR_ERROR_NOT_FOUND, "could not connect to %s", peer->host);
		error_detail(err, "%s.", words[0] != '\0' ? words : curl_easy_strerror(code));
		return HTTP_NOT_SENT;
	}
	if (transfer->too_long)
		error_set(err, ROTOR_ERROR_SPACE, "answer of %s is too long", peer->host);
	else
	{
		error_set(err, ROTOR_ERROR_NOT_FOUND, "no whole answer from %s", peer->host);
		error_detail(err, "%s.",
					 transfer->repeated ? "The connection was closed before an answer"
										: curl_easy_strerror(code));
	}
	return HTTP_NO_ANSWER;
}

/* With an answer's body that is never NULL. */
static HttpResult
perform(CURL *curl, Transfer *transfer, const Peer *peer, char *words, RotorError *err)
{
	CURLcode code = curl_easy_perform(curl);

	if (code != CURLE_OK)
		return explain(code, transfer, peer, words, err);
	if (transfer->answer->body == NULL)
		transfer->answer->body = wipe_calloc(1, 1);
	if (transfer->answer->body == NULL)
	{
		error_set(err, ROTOR_ERROR_SPACE, "out of memory");
		return HTTP_NO_ANSWER;
	}
	read_headers(curl, transfer->answer);
	return HTTP_ANSWERED;
}

HttpResult
http_send(const HttpRequest *request, HttpAnswer *answer, RotorError *err)
{
	Transfer transfer = {.request = request, .answer = answer};
	struct curl_slist *headers = NULL;
	char words[CURL_ERROR_SIZE] = "";
	int64_t left = deadline_left(request->deadline);
	HttpResult result;
	CURL *curl = NULL;
	Peer peer;

	memset(answer, 0, sizeof(*answer));
	if (!http_client_init(err) || !judge_url(request, &peer, err) ||
		!judge_method(request->method, err) || !build_headers(request, &headers, err))
	{
		/* Another time there may be the memory: nothing is said against the request. */
		result = err->code == ROTOR_ERROR_SPACE ? HTTP_NOT_SENT : HTTP_BAD;
		goto cleanup;
	}
	result = HTTP_NOT_SENT;
	if (left <= 0)
	{
		error_set(err, ROTOR_ERROR_NOT_FOUND, "no time was left to ask %s", peer.host);
		goto cleanup;
	}
	curl = thread_handle();
	if (curl == NULL ||
		!set_connection(curl, request, &peer, left < INT_MAX ? (long) left : INT_MAX) ||
		!set_request(curl, request, headers) || !set_callbacks(curl, &transfer, words))
	{
		error_set(err, ROTOR_ERROR_ARGUMENT, "libcurl does not take the request to %s", peer.host);
		goto cleanup;
	}
	result = perform(curl, &transfer, &peer, words, err);

cleanup:
	/* Nothing of this call is left in the handle: neither pointers nor credentials. */
	if (curl != NULL)
		curl_easy_reset(curl);
	curl_slist_free_all(headers);
	if (result != HTTP_ANSWERED)
		http_answer_free(answer);
	return result;
}
