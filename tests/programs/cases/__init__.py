"""The programs, in the order in which they are run. Each module has NEEDS (programs or paths) and run(case)."""

from . import (
    haproxy, iperf3, memcached, netcat, nginx, nginx_proxy, postgres, python_asyncio, python_http, redis, socat,
)

PROGRAMS = {
    "redis": redis,
    "nginx": nginx,
    "nginx-proxy": nginx_proxy,
    "python-http": python_http,
    "python-asyncio": python_asyncio,
    "memcached": memcached,
    "iperf3": iperf3,
    "haproxy": haproxy,
    "socat": socat,
    "netcat": netcat,
    "postgres": postgres,
}
