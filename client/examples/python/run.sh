#!/usr/bin/env bash
# Runs the Python examples against a coordinator and fails if any outcome is not as expected.
#   REDRIVE_ADDRESS  the coordinator to use, host:port; or else
#   REDRIVE_BIN      the redrive binary: a coordinator is started on free ports of 127.0.0.1
#   VENV             a virtual environment to use (made where it is missing); default: a temporary one
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
proto=$(cd "$here/../../../proto" && pwd)
work=$(mktemp -d)
pids=()

finish() {
  status=$?
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ "$status" -ne 0 ]; then
    for log in "$work"/*.log; do
      [ -e "$log" ] && { echo "--- $(basename "$log")"; tail -n 40 "$log"; } >&2
    done
  fi
  rm -rf "$work"
}
trap finish EXIT

if [ -z "${REDRIVE_ADDRESS:-}" ] && [ -z "${REDRIVE_BIN:-}" ]; then
  echo "set REDRIVE_ADDRESS (host:port) or REDRIVE_BIN (the redrive binary)" >&2
  exit 2
fi

venv=${VENV:-$work/venv}
python="$venv/bin/python"
[ -x "$python" ] || python3 -m venv "$venv"
"$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"

# The stubs, as any other project would make them.
mkdir "$work/stubs"
"$python" -m grpc_tools.protoc -I "$proto" \
  --python_out="$work/stubs" --grpc_python_out="$work/stubs" "$proto"/redrive/v1/*.proto
export PYTHONPATH="$work/stubs" PYTHONDONTWRITEBYTECODE=1

free_ports() {
  "$python" -c 'import socket
a, b = socket.socket(), socket.socket()
for s in (a, b): s.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])'
}

address=${REDRIVE_ADDRESS:-}
if [ -z "$address" ]; then
  read -r grpc_port http_port < <(free_ports)
  address=127.0.0.1:$grpc_port
  "$REDRIVE_BIN" coordinator --data-dir "$work/data" \
    --listen "$address" --http-listen "127.0.0.1:$http_port" >"$work/coordinator.log" 2>&1 &
  pids+=($!)
fi

# A queue and a worker of their own, so that the examples can run again on the same coordinator.
queue=examples-$$
worker_id=python-$$
"$python" "$here/worker.py" "$address" "$worker_id" "$queue" >"$work/worker.log" 2>&1 &
worker=$!
pids+=("$worker")

timeout 120 "$python" "$here/producer.py" "$address" "$worker_id" "$queue"

# Drained, the worker leaves by itself and without an error.
for _ in $(seq 200); do kill -0 "$worker" 2>/dev/null || break; sleep 0.1; done
if kill -0 "$worker" 2>/dev/null; then
  echo "the worker did not leave within 20 s of its drain" >&2
  exit 1
fi
wait "$worker" || { echo "the worker left with exit code $?" >&2; exit 1; }

# hello 1, flaky 2, limited 2, cut 1, endless 1, slow 1: each run was reported and recorded, once.
recorded=$(grep -c '^report: REPORT_STATUS_RECORDED$' "$work/worker.log" || true)
reports=$(grep -c '^report: ' "$work/worker.log" || true)
if [ "$recorded" -ne 8 ] || [ "$reports" -ne 8 ]; then
  echo "expected 8 reports, all RECORDED; got $reports, $recorded of them RECORDED" >&2
  exit 1
fi
echo "ok: the worker resumed its cut session, had 8 reports recorded, and left when drained"
