/* getaddrinfo(3), getnameinfo(3), gethostbyname(3) and its kin, gethostname(2): what needs no server. */
#include "support.h"

#include <netdb.h>
#include <sys/utsname.h>

/* The addresses of an answer as text, one after the other. */
static const char *listed(const char *node, const char *service, int family, int kind, int flags)
{
	static char text[1024];
	struct addrinfo hints = { .ai_family = family, .ai_socktype = kind, .ai_flags = flags }, *list = NULL;
	int error = getaddrinfo(node, service, &hints, &list);
	if (error) {
		snprintf(text, sizeof text, "%d", error);
		return text;
	}
	size_t at = 0;
	for (struct addrinfo *one = list; one; one = one->ai_next) {
		char host[64], port[8];
		EQ(getnameinfo(one->ai_addr, one->ai_addrlen, host, sizeof host, port, sizeof port,
			       NI_NUMERICHOST | NI_NUMERICSERV), 0);
		EQ(one->ai_family, one->ai_addr->sa_family);
		EQ(one->ai_flags, flags);
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%s/%s/%d/%d", at ? " " : "", host, port,
				       one->ai_socktype, one->ai_protocol);
	}
	freeaddrinfo(list);
	return text;
}

#define ADDRESSES(expected, ...)                                                     \
	do {                                                                         \
		const char *text = listed(__VA_ARGS__);                              \
		if (strcmp(text, expected))                                          \
			printf("# %s instead of %s\n", text, expected);              \
		TRUE(!strcmp(text, expected));                                       \
	} while (0)

static void numeric_addresses(struct conn *c)
{
	(void)c;
	ADDRESSES("10.1.2.3/80/1/6", "10.1.2.3", "80", AF_UNSPEC, SOCK_STREAM, 0);
	ADDRESSES("10.1.2.3/0/1/6 10.1.2.3/0/2/17 10.1.2.3/0/3/0", "10.1.2.3", NULL, AF_UNSPEC, 0, AI_NUMERICHOST);
	ADDRESSES("127.0.0.1/0/2/17", "127.1", NULL, AF_INET, SOCK_DGRAM, 0);
	ADDRESSES("fd6c::1/7/1/6", "fd6c::1", "7", AF_INET6, SOCK_STREAM, AI_NUMERICSERV);
	ADDRESSES("::ffff:10.1.2.3/7/1/6", "10.1.2.3", "7", AF_INET6, SOCK_STREAM, AI_V4MAPPED);
	ADDRESSES("-9", "10.1.2.3", "7", AF_INET6, SOCK_STREAM, 0);
	ADDRESSES("-9", "fd6c::1", "7", AF_INET, SOCK_STREAM, 0);
	ADDRESSES("-2", "host", "7", AF_UNSPEC, SOCK_STREAM, AI_NUMERICHOST);
	ADDRESSES("-2", "1.2.3.4.5", "7", AF_UNSPEC, SOCK_STREAM, AI_NUMERICHOST);
}

static void no_name(struct conn *c)
{
	(void)c;
	ADDRESSES("127.0.0.1/80/1/6", NULL, "80", AF_INET, SOCK_STREAM, 0);
	ADDRESSES("::1/80/1/6", NULL, "80", AF_INET6, SOCK_STREAM, 0);
	ADDRESSES("0.0.0.0/80/1/6", NULL, "80", AF_INET, SOCK_STREAM, AI_PASSIVE);
	ADDRESSES("0.0.0.0/80/1/6 ::/80/1/6", NULL, "80", AF_UNSPEC, SOCK_STREAM, AI_PASSIVE);
	ADDRESSES("::1/80/1/6 127.0.0.1/80/1/6", NULL, "80", AF_UNSPEC, SOCK_STREAM, 0);
	ADDRESSES("-2", NULL, NULL, AF_UNSPEC, SOCK_STREAM, AI_PASSIVE);
	ADDRESSES("-1", NULL, "80", AF_UNSPEC, SOCK_STREAM, AI_CANONNAME);
}

static void services_and_hints(struct conn *c)
{
	(void)c;
	ADDRESSES("-8", "127.0.0.1", "nosuchservice", AF_UNSPEC, SOCK_STREAM, 0);
	ADDRESSES("-2", "127.0.0.1", "http", AF_UNSPEC, SOCK_STREAM, AI_NUMERICSERV);
	ADDRESSES("-6", "127.0.0.1", "80", AF_UNIX, SOCK_STREAM, 0);
	ADDRESSES("-7", "127.0.0.1", "80", AF_UNSPEC, 77, 0);
	ADDRESSES("-1", "127.0.0.1", "80", AF_UNSPEC, SOCK_STREAM, 0x800000);
	if (getservbyname("http", "tcp"))
		ADDRESSES("127.0.0.1/80/1/6", "127.0.0.1", "http", AF_INET, SOCK_STREAM, 0);
	struct addrinfo *list = NULL;
	EQ(getaddrinfo("127.0.0.1", "80", NULL, &list), 0);
	EQ(list->ai_family, AF_INET);
	freeaddrinfo(list);
}

static void localhost(struct conn *c)
{
	(void)c;
	ADDRESSES("127.0.0.1/80/1/6", "localhost", "80", AF_INET, SOCK_STREAM, 0);
	ADDRESSES("-8", "localhost", "nosuchservice", AF_INET, SOCK_STREAM, 0);
	struct addrinfo hints = { .ai_family = AF_INET, .ai_flags = AI_CANONNAME }, *list = NULL;
	EQ(getaddrinfo("localhost", NULL, &hints, &list), 0);
	EQ(strcmp(list->ai_canonname, "localhost"), 0);
	TRUE(list->ai_next && !list->ai_next->ai_canonname);
	freeaddrinfo(list);

	struct hostent *entry = gethostbyname("localhost");
	TRUE(entry != NULL);
	EQ(strcmp(entry->h_name, "localhost"), 0);
	EQ(entry->h_addrtype, AF_INET);
	EQ(entry->h_length, 4);
	SAME(entry->h_addr_list[0], "\x7f\0\0\1", 4);

	in_addr_t ip = htonl(INADDR_LOOPBACK);
	entry = gethostbyaddr(&ip, 4, AF_INET);
	TRUE(entry != NULL);
	EQ(strcmp(entry->h_name, "localhost"), 0);
	SAME(entry->h_addr_list[0], "\x7f\0\0\1", 4);
	TRUE(entry->h_addr_list[1] == NULL);
}

static void the_caller_s_room(struct conn *c)
{
	(void)c;
	struct hostent entry, *result = &entry;
	char room[1024];
	int error = 99;
	for (size_t skip = 0; skip < 9; skip++) {
		EQ(gethostbyname_r("localhost", &entry, room + skip, sizeof room - skip, &result, &error), 0);
		TRUE(result == &entry);
		TRUE(entry.h_name >= room + skip && entry.h_name < room + sizeof room);
		EQ((uintptr_t)entry.h_addr_list % sizeof(void *), 0);
		SAME(entry.h_addr_list[0], "\x7f\0\0\1", 4);
	}
	EQ(gethostbyname_r("localhost", &entry, room, 8, &result, &error), ERANGE);
	TRUE(result == NULL);
	EQ(error, NETDB_INTERNAL);
	EQ(gethostbyname2_r("localhost", AF_INET, &entry, room, 8, &result, &error), ERANGE);
	in_addr_t ip = htonl(INADDR_LOOPBACK);
	EQ(gethostbyaddr_r(&ip, 4, AF_INET, &entry, room, 8, &result, &error), ERANGE);
	EQ(gethostbyaddr_r(&ip, 4, AF_INET, &entry, room, sizeof room, &result, &error), 0);
	EQ(strcmp(entry.h_name, "localhost"), 0);
	/* Numbers that are no address are nobody's name. */
	EQ(gethostbyname_r("1.2.3.4.5", &entry, room, sizeof room, &result, &error), 0);
	TRUE(result == NULL);
	EQ(error, HOST_NOT_FOUND);
	EQ(gethostbyname_r("10.1.2.3", &entry, room, sizeof room, &result, &error), 0);
	SAME(entry.h_addr_list[0], "\x0a\1\2\3", 4);
	EQ(gethostbyname2_r("fd6c::1", AF_INET6, &entry, room, sizeof room, &result, &error), 0);
	EQ(entry.h_length, 16);
}

static void names_of_addresses(struct conn *c)
{
	(void)c;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *at = (struct sockaddr *)&addr;
	char host[64], service[64];
	EQ(getnameinfo(at, sizeof addr, host, sizeof host, service, sizeof service, NI_NUMERICSERV), 0);
	EQ(strcmp(host, "localhost"), 0);
	EQ(strcmp(service, "7"), 0);
	EQ(getnameinfo(at, sizeof addr, host, sizeof host, NULL, 0, NI_NUMERICHOST), 0);
	EQ(strcmp(host, "127.0.0.1"), 0);
	EQ(getnameinfo(at, sizeof addr, host, sizeof host, NULL, 0, NI_NUMERICHOST | NI_NAMEREQD), EAI_NONAME);
	EQ(getnameinfo(at, sizeof addr, host, 4, NULL, 0, 0), EAI_OVERFLOW);
	EQ(getnameinfo(at, sizeof addr, host, 4, NULL, 0, NI_NUMERICHOST), EAI_OVERFLOW);
	EQ(getnameinfo(at, sizeof addr, host, sizeof host, service, 1, NI_NUMERICSERV), EAI_OVERFLOW);
	EQ(getnameinfo(at, sizeof addr, NULL, 0, service, sizeof service, NI_NUMERICSERV), 0);
	EQ(getnameinfo(at, sizeof addr - 1, host, sizeof host, NULL, 0, 0), EAI_FAMILY);
	EQ(getnameinfo(at, sizeof addr, host, sizeof host, NULL, 0, 0x4000), EAI_BADFLAGS);
	addr.sin_family = 77;
	EQ(getnameinfo(at, sizeof addr, host, sizeof host, NULL, 0, 0), EAI_FAMILY);
}

static void own_name(struct conn *c)
{
	(void)c;
	char name[HOST_NAME_MAX + 1], room[4] = { 'x', 'x', 'x', 'x' };
	struct utsname system;
	OK(gethostname(name, sizeof name));
	OK(uname(&system));
	EQ(strcmp(name, system.nodename), 0);
	TRUE(system.release[0] && system.machine[0]);
	OK(gethostname(name, strlen(system.nodename) + 1));
	ERR(gethostname(room, 1), ENAMETOOLONG);
	EQ(room[0], system.nodename[0]);
	EQ(room[1], 'x');
	ERR(gethostname(name, strlen(system.nodename)), ENAMETOOLONG);
}

static const struct test tests[] = {
	TEST(numeric_addresses, ALONE), TEST(no_name, ALONE),		 TEST(services_and_hints, ALONE),
	TEST(localhost, ALONE),		TEST(the_caller_s_room, ALONE), TEST(names_of_addresses, ALONE),
	TEST(own_name, ALONE),
};
MAIN(tests)
