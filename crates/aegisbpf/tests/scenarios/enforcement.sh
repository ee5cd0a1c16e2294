# Runs in a virtual machine whose kernel has BPF-LSM.
. /t/checks.sh

mkdir -p /etc/aegisbpf /var/lib /w
cd /w || exit 1
echo secret >secret
echo open >open
echo other >other
$A keys generate --out first --name first >/dev/null
$A keys generate --out second --name second >/dev/null
$A keys add first/first.pub >/dev/null
$A keys add second/second.pub >/dev/null
printf 'version=1\n[deny_path]\n/w/secret\n' >one.conf
printf 'version=1\n[deny_path]\n/w/secret\n/w/other\n[deny_ip]\n127.0.0.9\n' >two.conf
sign one.conf v1 1 first/first.key
sign two.conf v2 2 first/first.key

# A host that only records, and is then told to enforce: as after a restart, the kernel has nothing.
echo 'enforcement = "record"' >/etc/aegisbpf/aegisbpf.toml
check 'recorded' $A policy apply v1 --require-signature
check 'recorded_denies_nothing' cat secret
says 'recorded_says_so' 'only recorded' $A status
rm /etc/aegisbpf/aegisbpf.toml
$A run >/tmp/agent 2>&1 &
agent=$!
for _ in $(seq 600); do
    grep -q 'reading events' /tmp/agent && break
    usleep 100000
done
denied 'the_agent_loads_what_was_applied' secret

# The signed path.
check 'newer_is_applied' $A policy apply v2 --require-signature
denied 'denied_by_the_newer' other
check 'others_open' cat open
refused 'older_is_refused' 'rollback\|older\|lower' $A policy apply v1 --require-signature
denied 'still_denied_after_the_older' other
says 'health_has_a_canary' 'ok       enforcement: 3 rules are enforced' $A health
first=$(sed -n 's/.*key_id *[=:] *//p' first/first.pub | head -n 1)
[ -n "$first" ] || first=$($A keys list --json | tr -d ' \n' | sed 's/.*"id":"\([0-9a-f]*\)"[^}]*first.*/\1/')
check 'revoked' $A keys revoke "$first" --reason 'laptop stolen'
says 'health_is_worse' 'revoked\|not trusted' $A health
denied 'still_denied_after_the_revocation' other
sign one.conf v3 3 second/second.key
check 'emergency_bundle' $A policy apply v3 --require-signature
denied 'in_force_by_the_second_key' secret
check 'replaced_as_a_whole' cat other

# Events.
usleep 1500000
check 'events_are_written' grep -q '"path":"/w/other"' /var/lib/aegisbpf/events/events.jsonl
says 'events_are_listed' '/w/other' $A events
says 'events_name_the_rule' '"entry": *"/w/secret"' $A events --json

# Unconfirmed: first nobody is there to make it official, then the agent is.
kill -9 $agent
sign two.conf v4 4 second/second.key
check 'applied_for_a_time' $A policy apply v4 --confirm-within 2s
denied 'in_force_for_a_time' other
sleep 3
check 'gone_back_by_itself' cat other
denied 'to_the_one_before' secret
says 'health_says_it_went_back' 'not confirmed in time' $A health
$A run >/tmp/agent 2>&1 &
agent=$!
for _ in $(seq 600); do
    grep -q 'rolled back' /tmp/agent && break
    usleep 100000
done
says 'the_agent_makes_it_official' 'rolled back' cat /tmp/agent
says 'in_the_log_too' 'policy.rollback' $A audit show
says 'and_why' 'policy.fallback' $A audit show
sign two.conf v5 5 second/second.key
check 'applied_for_a_longer_time' $A policy apply v5 --confirm-within 1h
check 'confirmed' $A policy confirm
says 'nothing_waits' 'unconfirmed_for": null' $A status --json

# Emergencies.
check 'emergency_off' $A emergency disable --reason 'the database does not start' --for 1h
check 'nothing_is_denied' cat secret
says 'health_says_so' 'emergency' $A health
check 'emergency_over' $A emergency enable
denied 'denied_again' secret

# Audit mode, what cannot be, what must not be.
sign two.conf v6 6 second/second.key
check 'audit_mode' $A policy apply v6 --mode audit
check 'only_told' cat secret
says 'health_calls_it_audit' 'audit mode' $A health
sign one.conf v7 7 second/second.key
check 'from_audit_to_enforce_for_a_time' $A policy apply v7 --confirm-within 2s
denied 'enforced_for_a_time' secret
for _ in $(seq 600); do
    $A status --json | grep -q '"policy_version": 6' && break
    usleep 100000
done
usleep 3000000
says 'back_to_audit_as_it_was' '"mode": "audit"' $A status --json
check 'only_told_again' cat secret
printf 'version=1\n[deny_comm]\nsh\n' >locked.conf
sign locked.conf v8 8 second/second.key
refused 'locks_nobody_out' 'denies' $A policy apply v8
check 'nothing_changed_by_that' grep -q '^7' /var/lib/aegisbpf/version_counter
sign two.conf v9 9 second/second.key
check 'enforced_again' $A policy apply v9

# Links on the way to a denied name, the second of them in no path of the policy, and trees that are renamed to the way.
# Nothing is mounted, and no control group is named.
mkdir blue green links trees
echo old >blue/key
echo new >green/key
ln -s links/middle current
ln -s ../blue links/middle
printf 'version=1\n[deny_path]\n/w/secret\n/w/other\n/w/current/key\n/w/trees/a/b/key\n' >moved.conf
sign moved.conf v10 10 second/second.key
check 'names_behind_links_apply' $A policy apply v10
denied 'denied_behind_two_links' blue/key
check 'open_where_no_link_leads' cat green/key
until_denied() {
    for _ in $(seq 600); do
        cat "$1" >/dev/null 2>&1 || break
        usleep 100000
    done
}
looks() { grep -c 'mean something else' /tmp/agent; }
until_it_looks() {
    for _ in $(seq 300); do
        [ "$1" = "$(looks)" ] || break
        usleep 100000
    done
}
# What it led to before is denied already, so it is the agent that is waited for. The first of these it may have found while it
# loaded the policy.
for turn in green blue green; do
    before=$(looks)
    ln -sfn ../$turn links/middle
    until_it_looks "$before"
    until_denied $turn/key
done
denied 'denied_where_the_link_leads_now' green/key
denied 'denied_where_it_led_before' blue/key
says 'the_agent_says_so' 'mean something else' cat /tmp/agent
# A link that is switched to the shell: whoever may switch it would lock out everybody, by the agent's hand.
mkdir evil
ln -s "$(readlink -f /bin/sh)" evil/key
ln -sfn ../evil links/middle
usleep 2500000
check 'a_switched_link_denies_no_shell' sh -c true
ln -sfn ../blue links/middle
until_denied blue/key
denied 'and_leads_back' blue/key
mkdir -p tree/a/b
echo new >tree/a/b/key
rmdir trees
mv tree trees
denied 'a_renamed_tree_is_denied_at_once' trees/a/b/key
# How soon depends on how fast the machine is; that it does so does not.
for _ in $(seq 30); do
    before=$(looks)
    usleep 3000000
    [ "$before" != "$(looks)" ] || break
done
check 'then_the_agent_rests' test "$before" = "$(looks)"
denied 'denied_when_it_rests' trees/a/b/key
# Whoever moves a directory away does not open what is in it: the agent has resolved a name that leads nowhere by then.
before=$(looks)
mv trees/a elsewhere
until_it_looks "$before"
check 'the_agent_looks_again' test "$before" != "$(looks)"
denied 'denied_where_it_was_moved_to' elsewhere/b/key
sign two.conf v11 11 second/second.key
check 'back_to_the_policy_before' $A policy apply v11
check 'open_after_an_apply' cat blue/key
# While it waits for its confirmation, a policy follows links as well, and goes on waiting.
sign moved.conf v12 12 second/second.key
check 'names_behind_links_for_a_time' $A policy apply v12 --confirm-within 1h
ln -sfn ../green links/middle
until_denied green/key
denied 'a_link_is_followed_meanwhile' green/key
mkdir red
ln -sfn ../red links/middle
for _ in $(seq 600); do
    touch red/key 2>/dev/null || break
    rm red/key
    usleep 100000
done
refused 'names_to_come_there_as_well' 'not permitted' touch red/key
says 'it_goes_on_waiting' 'unconfirmed_for": [^n]' $A status --json
before=$(looks)
check 'confirmed_as_it_is_now' $A policy confirm
until_it_looks "$before"
denied 'denied_where_a_link_led_meanwhile' green/key
sign two.conf v13 13 second/second.key
check 'and_back_again' $A policy apply v13

# A command under a policy of its own.
printf 'version=1\n[deny_path]\n/w/open\n' >three.conf
refused 'tested' 'Operation not permitted' $A policy test three.conf -- cat /w/open
says 'tested_says_what' 'denied open of /w/open' $A policy test three.conf -- cat /w/open
check 'tested_in_audit_mode' $A policy test three.conf --mode audit -- cat /w/open
check 'the_host_is_as_before' cat open
denied 'also_in_what_it_denies' other

# Nobody but the agent touches what is its own.
refused 'pins_stay' 'not permitted' rm /sys/fs/bpf/aegisbpf/links/aegis_file_open
refused 'state_stays' 'not permitted' rm /var/lib/aegisbpf/policy.applied
refused 'events_stay' 'not permitted' rm /var/lib/aegisbpf/events/events.jsonl
refused 'program_stays' 'not permitted' mv /w/other $A

# Another build takes its place while denials are off, and only then.
cp $A /w/newer
refused 'not_replaced_before' 'not permitted' mv /w/newer $A
refused 'another_build_is_not_the_agent' 'not permitted\|another build' /w/newer emergency enable
check 'off_to_replace_it' $A emergency disable --reason 'another build' --for 10m
check 'replaced' mv /w/newer $A
check 'on_by_the_new_one' $A emergency enable
denied 'denied_under_the_new_one' secret
sign two.conf v14 14 second/second.key
check 'the_new_one_applies' $A policy apply v14
refused 'and_stays_the_agent' 'not permitted' rm $A

# Killed: the agent at 50 points, an apply at 15. Somebody tries all the time.
(while :; do cat secret >/dev/null 2>&1 && echo lapse >>/tmp/lapses; done) &
hammer=$!
kill -9 $agent
for _ in $(seq 50); do
    $A run >/tmp/agent 2>&1 &
    agent=$!
    usleep $((RANDOM * 8))
    kill -9 $agent
done
check 'adopted_after_fifty_kills' $A status
version=20
for _ in $(seq 15); do
    if [ $((version % 2)) = 0 ]; then policy=one.conf; else policy=two.conf; fi
    sign $policy next $version second/second.key
    $A policy apply next >/dev/null 2>&1 &
    apply=$!
    usleep $((RANDOM * 30))
    kill -9 $apply
    version=$((version + 1))
done
sign two.conf last 100 second/second.key
check 'the_next_apply_finishes' $A policy apply last
says 'and_is_in_force' 'version 100' $A status
denied 'with_its_rules' other
kill $hammer
if [ -e /tmp/lapses ]; then failed 'no_lapse' "$(wc -l </tmp/lapses) opens"; else held 'no_lapse'; fi
says 'enforcement_is_well' 'ok       enforcement' $A health
echo 'done'
