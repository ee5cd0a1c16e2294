# The beginning of a script that runs in a virtual machine as root, with busybox and nobody else there. Prints
# "held: NAME" or "failed: NAME" a check.
set -u
A=/usr/sbin/aegisbpf

held() { echo "held: $1"; }
failed() {
    echo "failed: $1: $2"
    cat /tmp/out
}
# check NAME COMMAND...: the command succeeds.
check() {
    name=$1
    shift
    if "$@" >/tmp/out 2>&1; then held "$name"; else failed "$name" "$*"; fi
}
# refused NAME TEXT COMMAND...: the command fails, and says so with TEXT.
refused() {
    name=$1 text=$2
    shift 2
    if "$@" >/tmp/out 2>&1; then failed "$name" "$* succeeded"; elif grep -q -e "$text" /tmp/out; then held "$name"; else failed "$name" "$*"; fi
}
# says NAME TEXT COMMAND...: whatever its exit code, the command says TEXT.
says() {
    name=$1 text=$2
    shift 2
    "$@" >/tmp/out 2>&1
    if grep -q -e "$text" /tmp/out; then held "$name"; else failed "$name" "no '$text' from $*"; fi
}
denied() { refused "$1" 'Operation not permitted' cat "$2"; }
sign() { $A policy sign "$1" -o "$2" --policy-version "$3" --key "$4" >/dev/null; }
