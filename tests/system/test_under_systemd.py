"""The unit as it is installed, under a real systemd: it starts, is watched, reloaded, restarted and stopped."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.system.systemd_container import MISSING, NotBootedError, run_under_systemd
from tests.tiny_model import footage, write_model

pytestmark = [
    pytest.mark.skipif(MISSING, reason="needs root and systemd-nspawn (systemd-container)"),
    pytest.mark.timeout(400),
]

CONFIG = """\
[learn]
enabled = false
[model]
path = "/opt/try/tiny.onnx"
[[camera]]
name = "gate"
source = "sim:/opt/try/wall.png?fps=5&width=160&height=120&loop=1"
[publish]
bind = "tcp://127.0.0.1:5556"
[publish.curve]
key = "server.key_secret"
clients = "/etc/taintwatch/keys/clients"
[evidence]
folder = "/var/lib/taintwatch/evidence"
min_free_mb = 1
[web]
bind = "127.0.0.1:8080"
token_file = "page.token"
"""
SCRIPT = """\
trap 'journalctl -u taintwatch.service --no-pager -o cat > /opt/try/journal' EXIT
taintwatch=/opt/try/taintwatch
show() { systemctl show -P "$1" taintwatch.service; }
until_it() { for _ in $(seq 600); do "$@" > /dev/null && return; sleep 0.1; done; echo "never: $*"; exit; }
says() { show StatusText | grep -q "$1"; }
token=correct-horse-battery
page() { exec 3<> /dev/tcp/127.0.0.1/8080; printf 'GET /api/about HTTP/1.0\\r\\nHost: localhost\\r\\n%s\\r\\n' "$1" >&3
  head -1 <&3 | cut -d ' ' -f 2; exec 3>&-; }
restarted() { [ "$(show NRestarts)" -ge "$1" ] && says "cameras running"; }

cp -r "$taintwatch" /usr/local/bin/taintwatch  # a program below /opt/try is no part of the system
/usr/local/bin/taintwatch service install --program /usr/local/bin/taintwatch --with onnx-only --with curve \\
  --with ip-filter --with tokens > /dev/null || echo "not installed"
systemd-sysusers 2> /dev/null
install -d /etc/taintwatch /etc/taintwatch/keys
cd /etc/taintwatch/keys
$taintwatch keys new server --folder . > /dev/null
$taintwatch keys new anna --folder . > /dev/null
$taintwatch keys allow anna.key --clients clients > /dev/null
chmod -R a+rX clients
cp /opt/try/site.toml /etc/taintwatch/taintwatch.toml
(umask 077; echo $token > /etc/taintwatch/page.token; : > /etc/taintwatch/metrics.token)
chown root:taintwatch-config /etc/taintwatch/taintwatch.toml
chmod 640 /etc/taintwatch/taintwatch.toml
printf '[Service]\\nWatchdogSec=10\\n' > /etc/systemd/system/taintwatch.service.d/zz-sooner.conf
systemctl daemon-reload

systemctl start taintwatch.service && echo "started" || exit
until_it says "1 of 1 cameras running"
main=$(show MainPID)
echo "capabilities: $(grep CapEff /proc/$main/status | cut -f 2)"
echo "root: $(grep ^Uid /proc/$main/status | cut -f 2 | grep -cx 0)"
echo "page without the token: $(page)"
echo "page with it: $(page "Authorization: Bearer $token
")"
sed 's/gate/yard/' /opt/try/site.toml | sed -n '/camera/,/source/p' >> /etc/taintwatch/taintwatch.toml
systemctl reload taintwatch.service; echo "reload: $?"
until_it says "2 of 2 cameras running"
kill -STOP "$main"
until_it restarted 1
kill -KILL "$(show MainPID)"
until_it restarted 2
systemctl stop taintwatch.service; echo "stop: $(show Result)"
echo "nonsense" >> /etc/taintwatch/taintwatch.toml
systemctl start taintwatch.service 2> /dev/null; echo "wrong: $?"
echo "wrong: $(show ActiveState) $(show ExecMainStatus) $(show NRestarts)"
/usr/local/bin/taintwatch service uninstall | tail -1
"""
EXPECTED = """\
started
capabilities: 0000000000000000
root: 0
page without the token: 401
page with it: 200
reload: 0
stop: success
wrong: 1
wrong: failed 78 0
removed; /etc/taintwatch and /var/lib/taintwatch were left alone
"""


def test_the_service_lives_its_life_under_systemd(tmp_path: Path, repository: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write_model(inside / "tiny.onnx")
    cv2.imwrite(str(inside / "wall.png"), footage(1, size=(120, 160))[0])
    (inside / "site.toml").write_text(CONFIG)
    try:
        said = run_under_systemd(tmp_path, SCRIPT, repository)
    except NotBootedError as error:
        pytest.skip(f"no container can be booted here: {error}")
    journal = inside / "journal"
    assert said == EXPECTED, f"{said}\n{journal.read_text() if journal.is_file() else ''}"
