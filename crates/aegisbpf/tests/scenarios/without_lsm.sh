# Runs in a virtual machine whose kernel has BPF-LSM built in and leaves it out: lsm= does not name bpf.
. /t/checks.sh

# No control groups at first: fanotify alone. How they are mounted is put back below.
umount /sys/fs/cgroup
mkdir -p /etc/aegisbpf /var/lib /w
cd /w || exit 1
echo 'require_signature = false' >/etc/aegisbpf/aegisbpf.toml
echo secret >secret
echo other >other
printf 'version=1\n[deny_path]\n/w/secret\n' >files.conf
printf 'version=1\n[deny_path]\n/w/other\n' >others.conf
printf 'version=1\n[deny_ip]\n127.0.0.9\n' >network.conf
printf 'version=1\n[deny_path]\n/w/secret\n[allow_cgroup]\n/trusted\n' >scoped.conf
printf 'version=1\n[deny_ptrace]\n' >flags.conf

$A probe >/tmp/probe
says 'probe_says_that_it_is_off' 'BPF-LSM  *no: bpf is not among the security modules' cat /tmp/probe
says 'probe_says_what_to_do' 'start the kernel with lsm=.*landlock.*,bpf$' cat /tmp/probe
says 'probe_says_who_enforces_files' 'deny_path  *fanotify, with limits' cat /tmp/probe
says 'probe_says_that_nothing_does_connections' 'deny_ip  *not enforced' cat /tmp/probe
refused 'connections_are_refused' 'no control groups of version 2' $A policy apply network.conf --allow-unsigned
refused 'so_are_rules_for_groups' '\[allow_cgroup\]' $A policy apply scoped.conf --allow-unsigned
refused 'and_files_without_an_agent' 'start the agent' $A policy apply files.conf --allow-unsigned
refused 'even_if_asked_for' 'start the agent' $A policy apply files.conf --allow-unsigned --audit-unenforced
check 'nothing_was_denied' cat secret

$A run >/tmp/agent 2>&1 &
agent=$!
for _ in $(seq 100); do
    grep -q 'waiting for one' /tmp/agent && break
    usleep 50000
done
says 'the_agent_waits_for_a_policy' 'no policy was applied yet' cat /tmp/agent
says 'applied_by_fanotify_alone' 'in force   fanotify$' $A policy apply files.conf --allow-unsigned
denied 'denied_at_once' secret
check 'others_open' cat other
says 'health_proves_it' 'ok       enforcement: 1 rule' $A health
$A status >/tmp/status
says 'status_shows_it' 'backend     fanotify (the same policy)' cat /tmp/status
says 'status_shows_the_mode' 'mode      enforce' cat /tmp/status
refused 'nothing_waits_for_a_confirmation' 'no policy waits' $A policy confirm
check 'emergency_off' $A emergency disable --reason 'the database does not start' --for 1h
check 'nothing_is_denied' cat secret
says 'status_says_so' 'emergency denials are off' $A status
check 'emergency_over' $A emergency enable
denied 'denied_again' secret
check 'applied_for_a_time' $A policy apply others.conf --allow-unsigned --confirm-within 1h
denied 'in_force_for_a_time' other
says 'status_asks_for_it' 'confirm   within' $A status
check 'confirmed' $A policy confirm
says 'nothing_waits_any_more' '"unconfirmed_for": null' $A status --json
kill $agent
wait $agent
check 'not_denied_without_an_agent' cat other
says 'health_says_so' 'failed   enforcement: the agent does not run' $A health
refused 'nor_is_an_emergency_to_be_had' 'start the agent' $A emergency disable --reason 'none'

# Control groups, and no securityfs: nothing tells, so a program is tried.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
umount /sys/kernel/security
$A probe >/tmp/probe
says 'probe_finds_out_by_trying' 'BPF-LSM  *no: a program was tried' cat /tmp/probe
says 'probe_gives_connections_to_groups' 'deny_ip  *control group' cat /tmp/probe
says 'connections_are_for_groups' 'in force   cgroup$' $A policy apply network.conf --allow-unsigned
refused 'and_are_denied' 'Operation not permitted' nc -w 1 127.0.0.9 9

# Where the kernel tells, each command is quicker, and does the same.
mount -t securityfs securityfs /sys/kernel/security
refused 'flags_are_refused' 'runs no BPF programs as a security module' $A policy apply flags.conf --allow-unsigned
refused 'flags_cannot_be_tried_on_one_command' 'runs no BPF programs' $A policy test flags.conf -- true
refused 'nor_can_files' 'for the whole host' $A policy test files.conf -- true
says 'flags_if_asked_for_are_named' 'unenforced \[deny_ptrace\]' $A policy apply flags.conf --allow-unsigned --audit-unenforced
says 'health_names_them' 'nothing here enforces \[deny_ptrace\]' $A health
echo 'done'
