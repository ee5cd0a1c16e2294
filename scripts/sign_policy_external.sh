#!/usr/bin/env bash
# Signs a policy with a key that never leaves its KMS or HSM, and writes a bundle for `aegisbpf policy apply`.
#
# The signer command gets the bytes to sign on stdin and prints the Ed25519 signature as 128 hex characters.
# Nothing is written unless that signature verifies under the public key.

set -euo pipefail

readonly PROGRAM=${0##*/}

usage() {
    cat <<USAGE
usage: $PROGRAM --policy FILE --public-key FILE --output FILE --sign-command COMMAND
       $(printf '%*s' "${#PROGRAM}" '') [--policy-version N|auto] [--expires DURATION|TIME|never]

  --policy FILE           the policy to sign
  --public-key FILE       the public half of the signing key (SPKI PEM, 64 hex characters or an OpenSSH line)
  --output FILE           where the signed bundle goes
  --sign-command COMMAND  a shell command: bytes to sign on stdin, 128 hex characters on stdout
  --policy-version N      the version of the bundle; default: auto, one more than the version counter of this host
  --expires TIME          from when a new apply refuses the bundle: 90d, 2027-01-31 or never; default: 90d

The program is \$AEGISBPF if that is set, or aegisbpf on the PATH, or the one built next to this script.

example:
  $PROGRAM \\
    --policy /etc/aegisbpf/policy.conf \\
    --public-key /etc/aegisbpf/keys/signer.pub \\
    --output /tmp/policy.signed \\
    --sign-command 'your-kms-sign-wrapper'
USAGE
}

usage_error() {
    printf 'error: %s\n  help: %s --help\n' "$1" "$PROGRAM" >&2
    exit 2
}

# Prints the program to use. A variable that names no program is an error, not a reason to look elsewhere.
find_aegisbpf() {
    if [[ -n ${AEGISBPF:-} ]]; then
        command -v -- "$AEGISBPF" || usage_error "AEGISBPF names no program: $AEGISBPF"
        return
    fi
    command -v aegisbpf && return
    local directory candidate
    directory=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
    for candidate in "$directory"/../target/{release,debug}/aegisbpf; do
        if [[ -x $candidate ]]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    usage_error 'aegisbpf is not on the PATH, and AEGISBPF does not name it'
}

policy='' public_key='' output='' sign_command='' policy_version='' expires=''

# Puts a value into the variable of a flag; a flag may be given once.
set_once() {
    local -n variable=$1
    [[ -z $variable ]] || usage_error "$2 is given twice"
    [[ -n $3 ]] || usage_error "$2 needs a value that is not empty"
    # The name reference writes to the caller's variable.
    # shellcheck disable=SC2034
    variable=$3
}

while (($# > 0)); do
    flag=$1
    case $flag in
        -h | --help)
            usage
            exit 0
            ;;
        --policy | --public-key | --output | --sign-command | --policy-version | --expires)
            (($# >= 2)) || usage_error "$flag needs a value"
            value=$2
            shift 2
            ;;
        --policy=* | --public-key=* | --output=* | --sign-command=* | --policy-version=* | --expires=*)
            value=${flag#*=}
            flag=${flag%%=*}
            shift
            ;;
        *) usage_error "unknown argument: $flag" ;;
    esac
    name=${flag#--}
    set_once "${name//-/_}" "$flag" "$value"
done

missing=()
[[ -n $policy ]] || missing+=(--policy)
[[ -n $public_key ]] || missing+=(--public-key)
[[ -n $output ]] || missing+=(--output)
[[ -n $sign_command ]] || missing+=(--sign-command)
((${#missing[@]} == 0)) || usage_error "missing: ${missing[*]}"

# A name that begins with a dash is a file, never a flag of the program.
as_file() {
    case $1 in
        -*) printf './%s' "$1" ;;
        *) printf '%s' "$1" ;;
    esac
}

aegisbpf=$(find_aegisbpf) || exit

exec "$aegisbpf" policy sign "$(as_file "$policy")" \
    --out "$(as_file "$output")" \
    --public-key "$(as_file "$public_key")" \
    --sign-command="$sign_command" \
    --policy-version "${policy_version:-auto}" \
    --expires "${expires:-90d}"
