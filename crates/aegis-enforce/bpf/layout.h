/* What the programs and the agent have in common. `src/layout.rs` says the same in Rust; a test compares sizes and
 * offsets through the object's BTF. */
#ifndef AEGIS_LAYOUT_H
#define AEGIS_LAYOUT_H

/* Counted up when the maps or the events change their meaning: pinned programs of another number are replaced. */
#define AEGIS_LAYOUT 3

/* struct policy.flags */
#define POLICY_ENFORCE (1u << 0)
#define POLICY_FILES (1u << 1)
#define POLICY_NAMES (1u << 2)
#define POLICY_SCOPED_FILES (1u << 3)
#define POLICY_NET (1u << 4)
#define POLICY_CIDR (1u << 5)
#define POLICY_SCOPED_NET (1u << 6)
#define POLICY_COMMS (1u << 7)
#define POLICY_HASHES (1u << 8)
#define POLICY_ALLOW_GROUPS (1u << 9)
#define POLICY_ONLY_LISTED (1u << 10)  /* allow_binary_hash has entries */
#define POLICY_ONLY_TRUSTED (1u << 11) /* trusted_exec_hash has entries */
#define POLICY_FAIL_CLOSED (1u << 12)  /* ima_fail_closed */
#define POLICY_PROTECT_CONNECT (1u << 13)
#define POLICY_RUNTIME_DEPS (1u << 14)
#define POLICY_DENY_PTRACE (1u << 15)
#define POLICY_DENY_MODULE (1u << 16)
#define POLICY_DENY_BPF (1u << 17)
#define POLICY_DENY_HASHES (1u << 18) /* deny_binary_hash has entries */
#define POLICY_ADDRESSES (1u << 19)   /* some address is named, for whomever, beside the canary's */
#define POLICY_PORTS (1u << 20)       /* some port is named, for whomever */

/* aegis_now: the generation, 0 before the first policy; from bit NOW_FLAGS on the flags of its policy; bit NOW_SLOT, which
 * is the generation's lowest; and NOW_ASK: only the maps know what counts. */
#define NOW_FLAGS 40
#define NOW_GENERATION ((1ull << NOW_FLAGS) - 1)
#define NOW_SLOT 62
#define NOW_ASK (1ull << 63)

/* The canary: 192.0.2.255 (RFC 5737), in network order. */
#define CANARY_ADDRESS 0xff0200c0u

/* struct rule.flags */
#define RULE_PROTECT (1u << 0) /* verified programs pass */
#define RULE_ALWAYS (1u << 1)  /* nobody passes, and audit mode does not matter: the canary */
#define RULE_STATIC (1u << 2)  /* the policy names this inode itself; it stays when the file is gone */
#define RULE_LISTED (1u << 3)  /* a hash: allow_binary_hash */
#define RULE_TRUSTED (1u << 4) /* a hash: trusted_exec_hash */
#define RULE_DENIED (1u << 5)  /* a hash: deny_binary_hash */
#define RULE_GONE (1u << 6)    /* the file is; its number may be another's now */

/* struct rule.protocols: connecting, and binding or listening */
#define PROTO_TCP 1
#define PROTO_UDP 2
#define PROTO_OTHER 4
#define PROTO_BIND 3 /* shift */

/* struct net_key.kind */
#define NET_ENDPOINT 1
#define NET_ADDRESS 2
#define NET_PORT 3

/* struct file_key.group: 0 is everybody, 1 and up a control group of the policy */
#define GROUP_DIRECTORY 0xffffffffu /* not a rule: the directory is the node `rule.line` of the tree of names */

/* struct self_key.kind */
#define SELF_PROGRAM 1
#define SELF_DIRECTORY 2
#define SELF_FILESYSTEM 3 /* inode 0: the file system of the pins */

/* struct event.operation */
#define OP_OPEN 1
#define OP_CREATE 2
#define OP_EXEC 3
#define OP_MAP 4
#define OP_RECEIVE 5
#define OP_TRUNCATE 6
#define OP_CONNECT 7
#define OP_SEND 8
#define OP_BIND 9
#define OP_LISTEN 10
#define OP_PTRACE 11
#define OP_MODULE 12
#define OP_BPF 13
#define OP_TAMPER 14

/* rule.section of what protects the agent itself, and of nothing in the policy */
#define SECTION_SELF 255

/* Values of `enum Section` in aegis-policy. */
#define SECTION_ALLOW_BINARY_HASH 5
#define SECTION_TRUSTED_EXEC_HASH 6
#define SECTION_PROTECT_CONNECT 16
#define SECTION_IMA_FAIL_CLOSED 19
#define SECTION_DENY_PTRACE 20
#define SECTION_DENY_MODULE_LOAD 21
#define SECTION_DENY_BPF 22

#define NAME_LENGTH 32 /* of a longer name: the first 16 bytes, and 16 of a hash over it */
#define NAME_MAX 255
#define CLIMB 16 /* directories above a name, itself the first, by whose names it is looked for once some have moved */
#define GROUP_LEVELS 16 /* control groups nested deeper than this are not told apart */
#define PARENTS 6
#define EVENT_PATH 512

struct rule {
	__u32 line; /* in the policy's text, from 1 */
	__u8 section;
	__u8 protocols;
	__u16 flags;
};

/* One policy: the value of the only element of its array. */
struct policy {
	__u64 deadline; /* CLOCK_BOOTTIME in ns after which the policy before it counts again; 0: never */
	__u64 version;
	__u64 rules;
	__u64 applied_at; /* Unix time in ms */
	__u32 flags;
	__u32 group_levels; /* bit n: some control group of the policy is n below the root */
	__u32 zero;
	__u32 signed_;
	__u32 lines[8]; /* of the flags' headers: protect_connect, deny_ptrace, deny_module_load, deny_bpf, fail closed,
			   allow_binary_hash, trusted_exec_hash, none */
	__u8 sha256[32];
	__u8 digest[32]; /* SHA-256 over what was meant to be in the maps */
	__u64 entries[8]; /* files, names, hashes, comms, groups, net, cidrs, none */
	__u64 lifted;     /* CLOCK_BOOTTIME in ns until which denials are only told, in an emergency; 0: they are not */
	__u64 resolution; /* what its names were on this host, as the agent sums them up */
};

#define FILTER_BITS 17

/* Two bits in one word stand for each entry of the maps for files, names and the network, so that most misses never ask
 * those. Of 1 MiB, whatever the policy: then programs find a word without a call. A million entries have 8 bits each. */
struct filter {
	__u64 words[1 << FILTER_BITS];
};

struct file_key {
	__u64 inode;
	__u32 device;
	__u32 group;
};

struct name_key {
	__u32 node;
	__u32 length;
	__u8 name[NAME_LENGTH];
};

struct name_rule {
	struct rule rule; /* section and flags 0: no rule of its own */
	__u32 node;       /* what a directory of that name is in the tree; 0: nothing below it is named */
	__u32 present;    /* 1: `rule` is one */
};

struct group {
	__u32 number; /* of the scoped rules; 0: none */
	__u32 allow;
};

struct net_key {
	__u64 high, low; /* address in network order; IPv4 as ::ffff:a.b.c.d */
	__u32 group;
	__u16 port;
	__u8 kind;
	__u8 zero;
};

struct cidr_key {
	__u32 prefix; /* 8 + bits of the address */
	__u8 family;  /* 4 or 6 */
	__u8 address[16]; /* IPv4 in the first four */
	__u8 zero[3];
};

struct self_key {
	__u64 inode;
	__u32 device;
	__u32 kind;
};

struct counters {
	__u64 denied;
	__u64 audited;
	__u64 lost;       /* events for which the ring buffer had no room */
	__u64 unmeasured; /* programs that the kernel could not hash */
	__u64 unmarked;   /* files that should have been marked, and the map was full */
	__u64 retried;    /* decisions that a swap overtook */
};

struct ancestor {
	__u32 pid;
	char comm[16];
};

/* Beside events, in the same ring buffer: names have moved, so the paths have to be resolved again. */
struct stir {
	__u64 moved;
};

struct event {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u64 generation;
	struct rule rule;
	__u32 operation;
	__u32 denied; /* 0: it would have been, in enforce mode */
	__u32 pid, tid, uid, gid;
	__u64 cgroup;
	__u64 exe_inode;
	__u64 inode;
	__u32 exe_device;
	__u32 device;
	__u32 target; /* process that was to be traced, or the command of bpf(2) */
	__u16 port;
	__u8 family; /* 4, 6, or 0 */
	__u8 protocol; /* of PROTO_* */
	__u8 address[16];
	__u8 hash[32];
	char comm[16];
	struct ancestor parents[PARENTS];
	__u32 has_hash;
	__s32 path_length; /* with its NUL; 0: none is told; negative: an error number */
	char path[EVENT_PATH];
};

#endif
