// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
/* Fills a large map inside the kernel, and sums up what is in it: for each kind of map two programs that are run once, by
 * the agent, while nothing looks at the map yet. Through bpf(2), each entry would cost two copies out of the memory of the
 * process, and to be read back as much again. Entries come by blocks, as the process has them. Linux 5.17. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "layout.h"

#define IN_BLOCK 128 /* entries */
#define BLOCKS 128

/* What `aegis_put_*` is called with, and what it answers. */
struct put {
	__u64 count; /* entries in the blocks */
	__u64 done;  /* that are in the map now */
	__s64 error; /* of the next one; kernels differ in the upper half of what a helper returns */
};

/* `Sum` in Rust: what does not depend on the order in which entries are found. */
struct sum {
	__u64 entries;
	__u64 first;
	__u64 second;
};

static __always_inline __u64 mix(__u64 a, __u64 b)
{
	__u64 h = (a ^ (b * 0x9E3779B97F4A7C15ull)) * 0xBF58476D1CE4E5B9ull;

	h = (h ^ (h >> 31)) * 0x94D049BB133111EBull;
	return h ^ (h >> 29);
}

static __always_inline __u64 mix_all(__u64 state, const __u64 *words, int bytes)
{
#pragma unroll
	for (int i = 0; i < bytes / 8; i++)
		state = mix(state, words[i]);
	return state;
}

/* `into_*` is made by the agent, and takes the place of the one here. */
#define ENTRIES(name, KEY, VALUE, TYPE, FLAGS)                                                                               \
	_Static_assert(sizeof(KEY) % 8 == 0 && sizeof(VALUE) % 8 == 0, "whole words");                                       \
	struct name##_keys {                                                                                                 \
		KEY all[IN_BLOCK];                                                                                           \
	};                                                                                                                   \
	struct name##_values {                                                                                               \
		VALUE all[IN_BLOCK];                                                                                         \
	};                                                                                                                   \
	struct {                                                                                                             \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                            \
		__uint(max_entries, BLOCKS);                                                                                 \
		__type(key, __u32);                                                                                          \
		__type(value, struct name##_keys);                                                                           \
	} keys_##name SEC(".maps");                                                                                          \
	struct {                                                                                                             \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                            \
		__uint(max_entries, BLOCKS);                                                                                 \
		__type(key, __u32);                                                                                          \
		__type(value, struct name##_values);                                                                         \
	} values_##name SEC(".maps");                                                                                        \
	struct {                                                                                                             \
		__uint(type, TYPE);                                                                                          \
		__uint(map_flags, FLAGS);                                                                                    \
		__uint(max_entries, 1);                                                                                      \
		__type(key, KEY);                                                                                            \
		__type(value, VALUE);                                                                                        \
	} into_##name SEC(".maps");                                                                                          \
                                                                                                                             \
	static long put_##name(__u64 index, struct put *put)                                                                 \
	{                                                                                                                    \
		__u32 block = index / IN_BLOCK, at = index % IN_BLOCK;                                                       \
		struct name##_keys *keys = bpf_map_lookup_elem(&keys_##name, &block);                                        \
		struct name##_values *values = bpf_map_lookup_elem(&values_##name, &block);                                  \
                                                                                                                             \
		if (!keys || !values)                                                                                        \
			return 1;                                                                                            \
		put->error = (int)bpf_map_update_elem(&into_##name, &keys->all[at], &values->all[at], BPF_ANY);              \
		if (put->error)                                                                                              \
			return 1;                                                                                            \
		put->done++;                                                                                                 \
		return 0;                                                                                                    \
	}                                                                                                                    \
                                                                                                                             \
	static __always_inline void add_##name(struct sum *sum, const __u64 *key, const __u64 *value)                        \
	{                                                                                                                    \
		__u64 state = mix_all(mix(sizeof(KEY), sizeof(VALUE)), key, sizeof(KEY));                                    \
                                                                                                                             \
		state = mix_all(state, value, sizeof(VALUE));                                                                \
		sum->entries++;                                                                                              \
		sum->first += state;                                                                                         \
		sum->second += mix(state, 0x61656769735f7375ull);                                                            \
	}

#define KIND(name, KEY, VALUE)                                                                                               \
	ENTRIES(name, KEY, VALUE, BPF_MAP_TYPE_HASH, 0)                                                                      \
                                                                                                                             \
	SEC("syscall")                                                                                                       \
	int aegis_put_##name(struct put *ctx)                                                                                \
	{                                                                                                                    \
		struct put put = {};                                                                                         \
                                                                                                                             \
		bpf_loop(ctx->count, put_##name, &put, 0);                                                                   \
		ctx->done = put.done;                                                                                        \
		ctx->error = put.error;                                                                                      \
		return 0;                                                                                                    \
	}                                                                                                                    \
                                                                                                                             \
	static long sum_##name(void *map, const __u64 *key, const __u64 *value, struct sum *sum)                             \
	{                                                                                                                    \
		add_##name(sum, key, value);                                                                                 \
		return 0;                                                                                                    \
	}                                                                                                                    \
                                                                                                                             \
	SEC("syscall")                                                                                                       \
	int aegis_sum_##name(struct sum *ctx)                                                                                \
	{                                                                                                                    \
		struct sum sum = {};                                                                                         \
                                                                                                                             \
		bpf_for_each_map_elem(&into_##name, sum_##name, &sum, 0);                                                    \
		*ctx = sum;                                                                                                  \
		return 0;                                                                                                    \
	}

KIND(file, struct file_key, struct rule)
KIND(name, struct name_key, struct name_rule)
KIND(net, struct net_key, struct rule)

struct hash_key {
	__u64 words[4];
};

KIND(hash, struct hash_key, struct rule)

/* A trie is not for programs that may sleep, so its programs are of another type, which is called through a map. */
ENTRIES(cidr, struct cidr_key, struct rule, BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC)

#define VISITS 32768 /* nodes in one call */
#define WAITING 256  /* a power of two, and more than a key has bits */
#define LPM_TREE_NODE_FLAG_IM 1

/* A walk through all nodes of a trie, which goes on where the call before it ended. No helper does that, so it reads the
 * kernel's own structures: where they have what, the agent knows from the kernel's types. */
struct walk {
	__u64 root; /* offset in `struct lpm_trie` */
	__u64 node; /* offset in `struct lpm_trie_node` */
	__u64 next; /* address of a node; 0 at the end */
	__u64 begun;
	struct sum sum;
	__u64 waiting; /* nodes to come back to */
};

union cidr_call {
	struct put put;
	struct walk walk;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union cidr_call);
} call_cidr SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAITING);
	__type(key, __u32);
	__type(value, __u64);
} waiting_cidr SEC(".maps");

SEC("raw_tp")
int aegis_put_cidr(void *ctx)
{
	__u32 only = 0;
	union cidr_call *call = bpf_map_lookup_elem(&call_cidr, &only);
	struct put put = {};

	if (!call)
		return 0;
	bpf_loop(call->put.count, put_cidr, &put, 0);
	call->put.done = put.done;
	call->put.error = put.error;
	return 0;
}

/* As `struct lpm_trie_node` has it; the key without its length and the value come next. */
struct node {
	__u64 child[2];
	__u32 prefix;
	__u32 flags;
};

static long visit(__u64 index, struct walk *walk)
{
	struct {
		struct cidr_key key;
		struct rule rule;
	} entry;
	struct node node;
	__u64 at = walk->next + walk->node;
	__u64 *waiting;
	__u32 place;

	if (!walk->next || bpf_probe_read_kernel(&node, sizeof(node), (void *)at))
		return 1;
	if (!(node.flags & LPM_TREE_NODE_FLAG_IM)) {
		entry.key.prefix = node.prefix;
		if (bpf_probe_read_kernel(&entry.key.family, sizeof(entry) - sizeof(node.prefix),
					  (void *)(at + sizeof(node))))
			return 1;
		add_cidr(&walk->sum, (const __u64 *)&entry.key, (const __u64 *)&entry.rule);
	}
	if (node.child[0] && node.child[1]) {
		place = walk->waiting++;
		waiting = bpf_map_lookup_elem(&waiting_cidr, &place);
		if (!waiting)
			return 1;
		*waiting = node.child[1];
	}
	walk->next = node.child[0] ? node.child[0] : node.child[1];
	if (!walk->next && walk->waiting) {
		place = --walk->waiting;
		waiting = bpf_map_lookup_elem(&waiting_cidr, &place);
		if (!waiting)
			return 1;
		walk->next = *waiting;
	}
	return 0;
}

SEC("raw_tp")
int aegis_sum_cidr(void *ctx)
{
	__u32 only = 0;
	union cidr_call *call = bpf_map_lookup_elem(&call_cidr, &only);
	struct walk walk;

	if (!call)
		return 0;
	walk = call->walk;
	if (!walk.begun) {
		/* By way of the memory, behind which a program may count on from a map's address. */
		*(volatile __u64 *)&call->walk.next = (__u64)&into_cidr;
		walk.begun = bpf_probe_read_kernel(&walk.next, sizeof(walk.next),
						   (void *)(*(volatile __u64 *)&call->walk.next + walk.root)) == 0;
	}
	if (walk.begun)
		bpf_loop(VISITS, visit, &walk, 0);
	call->walk = walk;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
