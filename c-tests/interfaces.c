/* getifaddrs(3), if_nametoindex(3) and its kin, and the requests of netdevice(7): they tell of the same interfaces. */
#include "support.h"

#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>

static struct ifaddrs *entry(struct ifaddrs *list, const char *name, int family)
{
	for (; list; list = list->ifa_next)
		if (!strcmp(list->ifa_name, name) && list->ifa_addr && list->ifa_addr->sa_family == family)
			return list;
	return NULL;
}

static in_addr_t ip_of(const struct sockaddr *addr)
{
	TRUE(addr != NULL);
	EQ(addr->sa_family, AF_INET);
	return ((const struct sockaddr_in *)addr)->sin_addr.s_addr;
}

static void loopback_is_there(struct conn *c)
{
	(void)c;
	struct ifaddrs *list;
	OK(getifaddrs(&list));
	struct ifaddrs *v4 = entry(list, "lo", AF_INET), *link = entry(list, "lo", AF_PACKET);
	TRUE(v4 && link);
	EQ(v4->ifa_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING), IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
	EQ(ip_of(v4->ifa_addr), htonl(INADDR_LOOPBACK));
	EQ(ip_of(v4->ifa_netmask), htonl(0xff000000));
	struct sockaddr_ll *ll = (struct sockaddr_ll *)link->ifa_addr;
	EQ(ll->sll_hatype, ARPHRD_LOOPBACK);
	EQ(ll->sll_halen, 6);
	EQ(ll->sll_ifindex, 1);
	TRUE(link->ifa_data != NULL);
	/* It may have others beside ::1. */
	int v6 = 0, loopbacks = 0;
	for (struct ifaddrs *one = list; one; one = one->ifa_next)
		if (strcmp(one->ifa_name, "lo") == 0 && one->ifa_addr && one->ifa_addr->sa_family == AF_INET6) {
			v6++;
			loopbacks += IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)one->ifa_addr)->sin6_addr) != 0;
		}
	TRUE(v6 == 0 || loopbacks == 1);
	freeifaddrs(list);
}

static void names_and_numbers(struct conn *c)
{
	(void)c;
	char name[IF_NAMESIZE];
	EQ(if_nametoindex("lo"), 1);
	TRUE(if_indextoname(1, name) == name);
	EQ(strcmp(name, "lo"), 0);
	errno = 0;
	EQ(if_nametoindex("nosuch0"), 0);
	EQ(errno, ENODEV);
	errno = 0;
	TRUE(if_indextoname(4711, name) == NULL);
	EQ(errno, ENXIO);
	struct if_nameindex *all = if_nameindex();
	TRUE(all != NULL);
	int n = 0;
	for (; all[n].if_name; n++) {
		EQ(if_nametoindex(all[n].if_name), all[n].if_index);
		OK(if_indextoname(all[n].if_index, name) ? 0 : -1);
		EQ(strcmp(name, all[n].if_name), 0);
	}
	TRUE(n > 0);
	EQ(all[n].if_index, 0);
	if_freenameindex(all);
}

static struct ifreq asked(int fd, unsigned long request, const char *name)
{
	struct ifreq ask;
	memset(&ask, 0xee, sizeof ask);
	strcpy(ask.ifr_name, name);
	OK(ioctl(fd, request, &ask));
	EQ(strcmp(ask.ifr_name, name), 0);
	return ask;
}

static in_addr_t asked_ip(int fd, unsigned long request, const char *name)
{
	struct ifreq ask = asked(fd, request, name);
	return ip_of(&ask.ifr_addr);
}

static void requests_agree_on(int fd)
{
	struct ifaddrs *list;
	OK(getifaddrs(&list));
	struct if_nameindex *all = if_nameindex();
	for (struct if_nameindex *one = all; one->if_name; one++) {
		const char *name = one->if_name;
		EQ(asked(fd, SIOCGIFINDEX, name).ifr_ifindex, one->if_index);
		struct ifreq ask = { .ifr_ifindex = (int)one->if_index };
		OK(ioctl(fd, SIOCGIFNAME, &ask));
		EQ(strcmp(ask.ifr_name, name), 0);
		struct ifaddrs *link = entry(list, name, AF_PACKET), *v4 = entry(list, name, AF_INET);
		TRUE(link != NULL);
		struct sockaddr_ll *ll = (struct sockaddr_ll *)link->ifa_addr;
		EQ((unsigned short)asked(fd, SIOCGIFFLAGS, name).ifr_flags, link->ifa_flags & 0xffff);
		ask = asked(fd, SIOCGIFHWADDR, name);
		EQ(ask.ifr_hwaddr.sa_family, ll->sll_hatype);
		SAME(ask.ifr_hwaddr.sa_data, ll->sll_addr, 6);
		TRUE(asked(fd, SIOCGIFMTU, name).ifr_mtu >= 1280);
		if (!v4)
			continue;
		EQ(asked_ip(fd, SIOCGIFADDR, name), ip_of(v4->ifa_addr));
		EQ(asked_ip(fd, SIOCGIFNETMASK, name), ip_of(v4->ifa_netmask));
		if (v4->ifa_flags & IFF_BROADCAST)
			EQ(asked_ip(fd, SIOCGIFBRDADDR, name), ip_of(v4->ifa_broadaddr));
	}
	if_freenameindex(all);
	freeifaddrs(list);
}

static void requests_agree(struct conn *c)
{
	(void)c;
	int kinds[][2] = { { AF_INET, SOCK_STREAM }, { AF_INET, SOCK_DGRAM } };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		int fd = socket(kinds[i][0], kinds[i][1], 0);
		OK(fd);
		requests_agree_on(fd);
		close(fd);
	}
}

static void the_whole_list(struct conn *c)
{
	(void)c;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	OK(fd);
	struct ifconf conf = { .ifc_len = 0, .ifc_buf = NULL };
	OK(ioctl(fd, SIOCGIFCONF, &conf));
	TRUE(conf.ifc_len > 0);
	EQ(conf.ifc_len % (int)sizeof(struct ifreq), 0);
	struct ifreq all[64];
	int whole = conf.ifc_len;
	conf = (struct ifconf){ .ifc_len = sizeof all, .ifc_req = all };
	OK(ioctl(fd, SIOCGIFCONF, &conf));
	EQ(conf.ifc_len, whole);
	EQ(strcmp(all[0].ifr_name, "lo"), 0);
	for (int i = 0; i < whole / (int)sizeof *all; i++)
		EQ(ip_of(&all[i].ifr_addr), asked_ip(fd, SIOCGIFADDR, all[i].ifr_name));
	memset(all, 0xee, sizeof all);
	conf = (struct ifconf){ .ifc_len = sizeof *all + 7, .ifc_req = all };
	OK(ioctl(fd, SIOCGIFCONF, &conf));
	EQ(conf.ifc_len, sizeof *all);
	EQ((unsigned char)all[1].ifr_name[0], 0xee);
	close(fd);
}

static void refusals(struct conn *c)
{
	(void)c;
	int fd = socket(AF_INET, SOCK_STREAM, 0), pipes[2];
	OK(fd);
	OK(pipe(pipes));
	struct ifreq ask = { .ifr_name = "nosuch0" };
	unsigned long about[] = { SIOCGIFADDR, SIOCGIFFLAGS, SIOCGIFINDEX, SIOCGIFHWADDR, SIOCGIFMTU };
	for (size_t i = 0; i < sizeof about / sizeof *about; i++) {
		ERR(ioctl(fd, about[i], &ask), ENODEV);
		ERR(ioctl(fd, about[i], NULL), EFAULT);
		ERR(ioctl(pipes[0], about[i], &ask), ENOTTY);
	}
	ask.ifr_ifindex = 4711;
	ERR(ioctl(fd, SIOCGIFNAME, &ask), ENODEV);
	ERR(ioctl(fd, SIOCGIFCONF, NULL), EFAULT);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	ERR(ioctl(fd, SIOCGIFADDR, &ask), EBADF);
}

static const struct test tests[] = {
	TEST(loopback_is_there, ALONE), TEST(names_and_numbers, ALONE), TEST(requests_agree, ALONE),
	TEST(the_whole_list, ALONE),	TEST(refusals, ALONE),
};
MAIN(tests)
