# Runs in a virtual machine whose kernel has no BPF-LSM: fanotify enforces rules for files, the agent answers.
. /t/checks.sh

# start_agent FILE: runs it, and waits until it reads events.
start_agent() {
    $A run >"$1" 2>&1 &
    agent=$!
    for _ in $(seq 200); do
        grep -q 'is process' "$1" && [ "${2:-reading events}" = nothing ] && break
        grep -q 'reading events' "$1" && break
        usleep 100000
    done
}
worker() { cat /proc/$agent/task/*/children | tr -d ' \n'; }

mkdir -p /etc/aegisbpf /var/lib /w
cd /w || exit 1
echo secret >secret
echo other >other
echo open >open
$A keys generate --out first --name first >/dev/null
$A keys add first/first.pub >/dev/null
printf 'version=1\n[deny_path]\n/w/secret\n[deny_ip]\n127.0.0.9\n' >one.conf
printf 'version=1\n[deny_path]\n/w/secret\n/w/other\n[deny_ip]\n127.0.0.9\n' >two.conf
printf 'version=1\n[deny_path]\n/proc/version\n' >three.conf
sign one.conf v1 1 first/first.key
sign two.conf v2 2 first/first.key

# Nobody there who would answer.
refused 'refused_without_an_agent' 'start the agent' $A policy apply v1 --require-signature
check 'and_nothing_is_denied' cat secret

start_agent /tmp/agent nothing
check 'applied_by_the_agent' $A policy apply v1 --require-signature
denied 'denied_at_once' secret
check 'others_open' cat open
check 'what_the_next_one_denies_opens' cat other
refused 'connecting_is_denied' 'Operation not permitted' nc -w 1 127.0.0.9 9
says 'health_is_well' 'ok       enforcement' $A health
says 'status_shows_it' 'fanotify (the same policy)' $A status
refused 'one_agent_alone' 'another agent runs' $A run

# Swapped.
check 'newer_is_applied' $A policy apply v2 --require-signature
denied 'denied_by_the_newer' other
refused 'older_is_refused' 'rollback\|older\|lower' $A policy apply v1 --require-signature
denied 'still_denied_after_the_older' other
sign three.conf v3 3 first/first.key
refused 'what_cannot_be_watched_is_refused' 'cannot mark /proc' $A policy apply v3
denied 'still_denied_after_the_refused' other
says 'health_is_well_after_it' 'ok       enforcement' $A health

# Events.
usleep 1500000
check 'events_are_written' grep -q '"path":"/w/other"' /var/lib/aegisbpf/events/events.jsonl
says 'events_name_the_rule' '"entry": *"/w/other"' $A events --json
check 'events_name_the_process' grep -q '"operation":"open".*"comm":"cat".*"path":"/w/other"' /var/lib/aegisbpf/events/events.jsonl

# Emergencies.
check 'emergency_off' $A emergency disable --reason 'the database does not start' --for 1h
check 'nothing_is_denied' cat other
check 'emergency_over' $A emergency enable
denied 'denied_again' other

# Unconfirmed: the agent goes back, and makes it official.
sign one.conf v4 4 first/first.key
check 'applied_for_a_time' $A policy apply v4 --confirm-within 3s
check 'in_force_for_a_time' cat other
sleep 4
denied 'gone_back_by_itself' other
for _ in $(seq 50); do
    grep -q 'rolled back' /tmp/agent && break
    usleep 100000
done
says 'the_agent_makes_it_official' 'rolled back' cat /tmp/agent
denied 'still_the_one_before' other
sign two.conf v5 5 first/first.key
check 'applied_for_a_longer_time' $A policy apply v5 --confirm-within 1h
check 'confirmed' $A policy confirm
says 'nothing_waits' '"confirm_by":null' cat /var/lib/aegisbpf/fanotify/state.json

# The worker is killed at ten points. Somebody tries all the time.
(while :; do cat secret >/dev/null 2>&1 && echo lapse >>/tmp/lapses; done) &
hammer=$!
for _ in $(seq 10); do
    before=$(worker)
    kill -9 "$before"
    usleep $((RANDOM * 30))
    for _ in $(seq 100); do
        [ -n "$(worker)" ] && [ "$(worker)" != "$before" ] && break
        usleep 50000
    done
done
denied 'denied_after_ten_kills' other
check 'others_open_after_ten_kills' cat open
kill $hammer
if [ -e /tmp/lapses ]; then failed 'no_lapse' "$(wc -l </tmp/lapses) opens"; else held 'no_lapse'; fi
sign one.conf v6 6 first/first.key
check 'the_next_is_applied' $A policy apply v6
check 'replaced_as_a_whole' cat other
says 'enforcement_is_well' 'ok       enforcement' $A health

# Stopped, it is over, and said.
kill $agent
wait $agent
check 'not_denied_without_an_agent' cat secret
says 'health_says_so' 'failed   enforcement: the agent does not run' $A health
sign two.conf v7 7 first/first.key
refused 'refused_again' 'start the agent' $A policy apply v7
start_agent /tmp/again
denied 'the_next_agent_has_the_policy' secret
says 'and_health_is_well' 'ok       enforcement' $A health
echo 'done'
