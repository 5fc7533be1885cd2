"""Docker's Python client on a private engine: prints `ok NAME` for each part, and fails at the first that is wrong."""
import io
import sys
import tarfile

import docker

client = docker.DockerClient(base_url="unix://" + sys.argv[1], version="auto", timeout=60)

# This version of the client drops what it reads together with the head of a hijacked answer. The engine sends the
# head before the program is there; on a busy machine the client may still come too late, but not always.
EXEC_TRIES = 50


def part(check):
    check()
    print("ok", check.__name__)


def whole(execute, expected):
    for _ in range(EXEC_TRIES):
        heard = execute()
        if heard == expected:
            return
    raise SystemExit("never heard as a whole: %r, but %r" % (expected, heard))


def run():
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    try:
        client.containers.run("busybox", "sh -c 'echo bad >&2; exit 4'", remove=True)
        raise SystemExit("a failing container did not raise")
    except docker.errors.ContainerError as error:
        assert error.exit_status == 4 and b"bad" in error.stderr, error
    try:
        client.containers.get("no-such")
        raise SystemExit("a missing container did not raise")
    except docker.errors.NotFound as error:
        assert error.explanation == "No such container: no-such", error


def life():
    box = client.containers.run(
        "busybox", ["sleep", "1000"], detach=True, name="py", labels={"crew": "blue"},
        environment={"KEY": "iron"}, mem_limit="64m", hostname="mast", stop_signal="SIGKILL",
        tmpfs={"/scratch": "size=1m"}, ports={"80/tcp": ("127.0.0.1", None)},
    )
    box.reload()
    assert box.status == "running", box.status
    assert box.attrs["HostConfig"]["Memory"] == 64 << 20
    assert box.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostIp"] == "127.0.0.1"
    assert [each.name for each in client.containers.list(filters={"label": "crew=blue"})] == ["py"]
    lines = ["sh", "-c", "hostname; echo $KEY; exit 6"]
    whole(lambda: tuple(box.exec_run(lines)), (6, b"mast\niron\n"))
    both = ["sh", "-c", "echo out; echo err >&2"]
    whole(lambda: tuple(box.exec_run(both, demux=True)), (0, (b"out\n", b"err\n")))
    assert any("sleep" in " ".join(row) for row in box.top()["Processes"])
    box.pause()
    box.reload()
    assert box.status == "paused"
    box.unpause()
    box.rename("py2")
    box.restart(timeout=0)
    box.stop()
    assert box.wait()["StatusCode"] == 137
    box.remove()


def attach():
    box = client.containers.create("busybox", "cat", stdin_open=True)
    socket = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    box.start()
    socket._sock.sendall(b"typed\n")
    # A frame: stream, three zeros, four bytes of length.
    heard = b""
    while len(heard) < 14:
        heard += socket._sock.recv(100)
    assert heard == b"\x01\0\0\0\0\0\0\x06typed\n", heard
    box.remove(force=True)


def logs():
    box = client.containers.run("busybox", ["sh", "-c", "echo one; echo two >&2"], detach=True)
    assert list(box.logs(stream=True, follow=True, stdout=True, stderr=False)) == [b"one\n"]
    assert box.logs(stdout=False, stderr=True) == b"two\n"
    assert box.logs(tail=1, timestamps=True).count(b"\n") == 1
    box.remove()


def events():
    stream = client.events(decode=True, filters={"event": "die"})
    client.containers.run("busybox", "true", remove=True)
    event = next(stream)
    assert event["Action"] == "die" and event["Actor"]["Attributes"]["exitCode"] == "0", event
    stream.close()


def images():
    image = client.images.get("busybox")
    assert "busybox:latest" in image.tags
    assert image.tag("cargo", "py")
    saved = b"".join(client.images.get("cargo:py").save(named="cargo:py"))
    names = tarfile.open(fileobj=io.BytesIO(saved)).getnames()
    assert "manifest.json" in names, names
    client.images.remove("cargo:py")
    loaded = client.images.load(saved)
    assert loaded[0].tags and client.images.get("cargo:py").id == image.id
    client.images.remove("cargo:py")
    assert [each.tags for each in client.images.list(filters={"reference": "busybox"})]
    assert image.history()


def archive():
    box = client.containers.create("busybox", "true")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        entry = tarfile.TarInfo("note")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"ahoy\n"))
    try:
        assert box.put_archive("/tmp", content.getvalue())
    except docker.errors.APIError as error:
        if error.status_code != 501:
            raise
        box.remove()
        return
    stream, stat = box.get_archive("/tmp/note")
    back = tarfile.open(fileobj=io.BytesIO(b"".join(stream)))
    assert back.extractfile("note").read() == b"ahoy\n" and stat["size"] == 5
    box.remove()


def system():
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.51"
    assert client.info()["Swarm"]["LocalNodeState"] == "inactive"
    assert {"bridge", "host", "none"} <= {each.name for each in client.networks.list()}
    try:
        client.services.list()
        raise SystemExit("services were listed without a swarm")
    except docker.errors.APIError as error:
        assert error.status_code == 503 and "not a swarm manager" in error.explanation
    assert client.plugins.list() == []


def stuff():
    """Volumes and networks, where the engine has them."""
    for make in (lambda: client.volumes.create("pyvol"), lambda: client.networks.create("pynet")):
        try:
            made = make()
        except docker.errors.APIError as error:
            if error.status_code != 501:
                raise
            continue
        made.reload()
        made.remove()


for check in (run, life, attach, logs, events, images, archive, system, stuff):
    part(check)
