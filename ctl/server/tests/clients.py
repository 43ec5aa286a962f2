"""A client in Python with grpcio's defaults: `clients.py PROTO SOCKET`. Exits with 0 where every call is answered."""

import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

import grpc

proto, socket = pathlib.Path(sys.argv[1]), sys.argv[2]
stubs = tempfile.TemporaryDirectory()
# PyPI's grpcio-tools, or else Debian's protobuf-compiler and protobuf-compiler-grpc.
if importlib.util.find_spec("grpc_tools"):
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"--grpc_python_out={stubs.name}"]
else:
    plugin = shutil.which("grpc_python_plugin")
    compiler = ["protoc", f"--plugin=protoc-gen-grpc={plugin}", f"--grpc_out={stubs.name}"]
compiler += [f"-I{proto.parent}", f"--python_out={stubs.name}", str(proto)]
subprocess.run(compiler, check=True, timeout=60)
sys.path.insert(0, stubs.name)

import bcast_pb2 as messages  # noqa: E402
import bcast_pb2_grpc as services  # noqa: E402


def refusal(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return None


quoted = urllib.parse.quote(socket, safe="")
for target, options in [
    (f"unix:{socket}", []),
    (f"unix://{socket}", []),
    (f"unix:{socket}", [("grpc.default_authority", quoted)]),
    (f"unix:{socket}", [("grpc.default_authority", socket)]),
    (f"unix:{socket}", [("grpc.default_authority", "localhost")]),
]:
    with grpc.insecure_channel(target, options=options) as channel:
        bcast = services.BcastStub(channel)
        # Several, so that later ones refer to the entries that earlier ones made in the table of headers.
        for number in range(1, 20):
            change = messages.Change(set=messages.Set(tep=messages.Tep(address=bytes([198, 18, 0, number]))))
            reply = bcast.Commit(messages.CommitRequest(changes=[change]), timeout=30)
            assert reply.revision >= number, reply
            assert bcast.Stats(messages.StatsRequest(), timeout=30).revision >= number
            metadata = [(f"key-{number}", "value" * number * 10)]
            assert bcast.Version(messages.VersionRequest(), timeout=30, metadata=metadata).version
        parts = list(bcast.Snapshot(messages.SnapshotRequest(), timeout=30))
        assert sum(len(part.teps) for part in parts) == 19, parts
        watch = bcast.Watch(messages.WatchRequest(from_revision=1), timeout=30)
        assert next(watch).revision == 1
        watch.cancel()
        domains = (messages.Change(set=messages.Set(domain=messages.Domain(vni=vni))) for vni in range(1, 1_001))
        batches = (messages.CommitRequest(changes=[domain]) for domain in domains)
        assert bcast.CommitStream(batches, timeout=30).revision >= 20
        desired = messages.ApplyRequest(teps=[messages.Tep(address=bytes([198, 18, 0, 1]))], last=True)
        assert list(bcast.Apply(iter([desired]), timeout=30))[-1].summary.reply.revision >= 20
        missing = messages.GetTepRequest(tep=messages.TepRef(address=bytes([198, 18, 9, 9])))
        assert refusal(lambda: bcast.GetTep(missing, timeout=30)) == grpc.StatusCode.NOT_FOUND
        forever = bcast.Watch(messages.WatchRequest(), timeout=0.2)
        assert refusal(lambda: list(forever)) == grpc.StatusCode.DEADLINE_EXCEEDED
print(grpc.__version__)
