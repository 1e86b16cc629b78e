#!/usr/bin/env bash
# A real Slurm of one node with accounting, below a temporary folder, for as long as one command runs:
#   tests/slurm/run.sh                    the tests of tests/slurm
#   tests/slurm/run.sh COMMAND ...        any command, for example a shell
# Debian's packages are installed if they are missing. Needs root: slurmd starts jobs, munge checks who owns its files.
# No systemd, no cgroups: proctrack/linuxproc, task/none. The daemons are ended by their pids, and their folder is removed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${PYTHON:=$root/.venv/bin/python}"
packages=(slurm-wlm slurmdbd mariadb-server munge)

if [ "$(id -u)" != 0 ]; then
  echo "slurm-test: the daemons of Slurm need root. As root: tests/slurm/run.sh (it installs ${packages[*]} if they are missing)" >&2
  exit 1
fi
if ! command -v slurmctld slurmd slurmdbd mariadbd munged > /dev/null; then
  command -v apt-get > /dev/null || { echo "slurm-test: install ${packages[*]} first; there is no apt-get here" >&2; exit 1; }
  echo "slurm-test: installing ${packages[*]}; policy-rc.d keeps their services from starting" >&2
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
fi

folder=$(mktemp -d /tmp/slurm-test.XXXXXX)
chmod 755 "$folder"
host=$(hostname -s)
pids=()

stop() {
  local status=$?
  for pid in "${pids[@]}"; do # the last one started first: slurmdbd before its database
    kill "$pid" 2> /dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2> /dev/null || true
  done
  if [ "$status" != 0 ] || [ -n "${SLURM_TEST_KEEP:-}" ]; then echo "slurm-test: logs are kept in $folder" >&2; else rm -rf "$folder"; fi
  exit "$status"
}
trap stop EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mysql_port=$(free_port) dbd_port=$(free_port) ctld_port=$(free_port) slurmd_port=$(free_port)

wait_for() { # what it is, its log, then a command that succeeds once it is up
  local what=$1 log=$2; shift 2
  for _ in $(seq 150); do timeout 5 "$@" > /dev/null 2>&1 && return 0; sleep 0.2; done
  echo "slurm-test: $what did not come up; the end of $log:" >&2; tail -5 "$log" >&2; exit 1
}

# munge: who is who between the daemons
mkdir -m 755 "$folder/munge"
head -c 1024 /dev/urandom > "$folder/munge/key" && chmod 600 "$folder/munge/key"
munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
  --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2> "$folder/munge/err" & pids=($! "${pids[@]}")
wait_for munged "$folder/munge/err" munge --socket="$folder/munge/socket" -n

# mariadb: the accounting's memory
mkdir -m 700 "$folder/mysql" && chown mysql "$folder/mysql"
mkdir -m 755 "$folder/mysql-run" && chown mysql "$folder/mysql-run"
mariadb-install-db --user=mysql --datadir="$folder/mysql" --auth-root-authentication-method=normal > "$folder/mysql-install.log" 2>&1
mariadbd --no-defaults --user=mysql --datadir="$folder/mysql" --socket="$folder/mysql-run/socket" --port="$mysql_port" \
  --bind-address=127.0.0.1 --innodb-buffer-pool-size=64M --pid-file="$folder/mysql-run/pid" > "$folder/mysql.log" 2>&1 & pids=($! "${pids[@]}")
sql=(mariadb --no-defaults --user=root --socket="$folder/mysql-run/socket")
wait_for mariadbd "$folder/mysql.log" "${sql[@]}" -e 'select 1'
"${sql[@]}" -e "create user slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'127.0.0.1';"

cat > "$folder/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$dbd_port
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$mysql_port
StorageUser=slurm
StoragePass=slurm
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
CONF
chmod 600 "$folder/slurmdbd.conf"

# Eight cores, whatever the machine has: the tests are about the queue, not about speed. Partition urgent preempts partition main.
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
cat > "$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=2,requeue_delay=1
SlurmctldParameters=requeue_delay=1
KillWait=5
OverTimeLimit=0
MinJobAge=60
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$dbd_port
AccountingStoragePass=$folder/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=$memory Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 DefMemPerCPU=500 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent Nodes=$host MaxTime=60 DefMemPerCPU=500 PriorityTier=10 PreemptMode=OFF
CONF
mkdir -p "$folder/state" "$folder/spool" "$folder/dev"
touch "$folder"/dev/gpu{0..3} # plain files: what is asked for and shown is what is tested, not what computes
echo "NodeName=$host Name=gpu File=$folder/dev/gpu[0-3] Flags=nvidia_gpu_env" > "$folder/gres.conf"
export SLURM_CONF=$folder/slurm.conf

SLURM_CONF="$folder/slurm.conf" slurmdbd -D > "$folder/slurmdbd.out" 2>&1 & pids=($! "${pids[@]}")
wait_for slurmdbd "$folder/slurmdbd.out" sacctmgr -n list cluster
sacctmgr -i add cluster test > /dev/null
sacctmgr -i add account study > /dev/null
sacctmgr -i add user "$(id -un)" account=study > /dev/null
slurmctld -D > "$folder/slurmctld.out" 2>&1 & pids=($! "${pids[@]}")
wait_for slurmctld "$folder/slurmctld.out" scontrol ping
slurmd -D > "$folder/slurmd.out" 2>&1 & pids=($! "${pids[@]}")
wait_for "the node" "$folder/slurmd.out" bash -c 'sinfo -h -o %T | grep -q idle'
wait_for "the accounting" "$folder/slurmdbd.log" bash -c 'sacctmgr -n -P list cluster format=controlhost | grep -q 127.0.0.1'

echo "slurm-test: Slurm $(sinfo --version | cut -d' ' -f2), one node with accounting, below $folder" >&2
cd "$root"
if [ "$#" -gt 0 ]; then "$@"; else STUDY_SLURM=1 OMP_NUM_THREADS=1 "$PYTHON" -m pytest -q -x tests/slurm; fi
