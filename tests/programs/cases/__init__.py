"""The programs, in the order in which they are run. Each module has NEEDS (programs or paths) and run(case).

RING = False in a module asks nothing of the ring when both ends are preloaded. PAIRS names the modes in which
processes of the preloaded end talk among themselves over pairs of UNIX sockets, so that the ring may be used there.

PROGRAMS are for every day: quick, and of small packages. LONG are those of large packages, or slow ones.
"""

from . import (
    agents, bash, busybox, chrony, dbus, debuggers, dnsmasq, dnsmasq_udp, git_daemon, haproxy, haproxy_unix, inetd, iperf3,
    iperf3_udp, java, lighttpd, memcached, memcached_udp, memcached_unix, mosh, mosquitto, netcat, nginx, nginx_proxy,
    nginx_unix, node, openssh, perl, php, php_fpm, postgres, postgres_unix, python_asyncio, python_http,
    python_multiprocessing, redis, redis_unix, rsync, rsyslog, socat, socat_unix, ssh_master, static, tls, valgrind, vsftpd,
)

PROGRAMS = {
    "redis": redis,
    "redis-unix": redis_unix,
    "nginx": nginx,
    "nginx-proxy": nginx_proxy,
    "nginx-unix": nginx_unix,
    "python-http": python_http,
    "python-asyncio": python_asyncio,
    "multiprocessing": python_multiprocessing,
    "memcached": memcached,
    "memcached-udp": memcached_udp,
    "iperf3": iperf3,
    "haproxy": haproxy,
    "socat": socat,
    "socat-unix": socat_unix,
    "netcat": netcat,
    "postgres": postgres,
    "rsync": rsync,
    "openssh": openssh,
    "vsftpd": vsftpd,
    "perl": perl,
    "bash": bash,
    "inetd": inetd,
    "lighttpd": lighttpd,
    "busybox": busybox,
    "dnsmasq": dnsmasq,
    "dnsmasq-udp": dnsmasq_udp,
    "git-daemon": git_daemon,
    "mosquitto": mosquitto,
    "tls": tls,
    "dbus": dbus,
    "agents": agents,
    "static": static,
    "debuggers": debuggers,
}

LONG = {
    "memcached-unix": memcached_unix,
    "iperf3-udp": iperf3_udp,
    "haproxy-unix": haproxy_unix,
    "postgres-unix": postgres_unix,
    "ssh-master": ssh_master,
    "rsyslog": rsyslog,
    "chrony": chrony,
    "mosh": mosh,
    "php-fpm": php_fpm,
    "php": php,
    "node": node,
    "java": java,
    "valgrind": valgrind,
}
