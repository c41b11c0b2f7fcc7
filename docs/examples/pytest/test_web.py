"""Every test has a web server on port 80 of the host `web`, at the same time as all others."""

import pytest


@pytest.fixture
def web(net, tmp_path):
    (tmp_path / "who").write_text(net.name)
    net.start("web", "python3", "-m", "http.server", 80, "--directory", tmp_path)
    net.wait_for("web", 80)
    return net


@pytest.mark.parametrize("client", ["alice", "bob"])
def test_a_client_gets_its_own_servers_page(web, client):
    assert web.run(client, "curl", "-sS", "http://web/who") == web.name


def test_nobody_listens_on_the_clients_own_port(web):
    with pytest.raises(Exception):
        web.run("alice", "curl", "-sSf", "http://127.0.0.1/who")
