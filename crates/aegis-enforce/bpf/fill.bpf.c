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

/* A trie is not for programs that may sleep, so its programs are of another type, which answers through a map. */
ENTRIES(cidr, struct cidr_key, struct rule, BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC)

union cidr_answer {
	struct put put;
	struct sum sum; /* what it was called with is where `put` has it */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union cidr_answer);
} answer_cidr SEC(".maps");

SEC("raw_tp")
int aegis_put_cidr(void *ctx)
{
	__u32 only = 0;
	union cidr_answer *answer = bpf_map_lookup_elem(&answer_cidr, &only);
	struct put put = {};

	if (!answer)
		return 0;
	bpf_loop(answer->put.count, put_cidr, &put, 0);
	answer->put = put;
	return 0;
}

/* A look for a key is answered by the entry with the longest prefix that is not longer than the key's. It is the key's own if a
 * look for one bit less is not answered by the same entry. */
static long sum_cidr(__u64 index, struct sum *sum)
{
	__u32 block = index / IN_BLOCK, at = index % IN_BLOCK;
	struct cidr_keys *keys = bpf_map_lookup_elem(&keys_cidr, &block);
	struct cidr_key key;
	void *own, *shorter = NULL;

	if (!keys)
		return 1;
	key = keys->all[at];
	own = bpf_map_lookup_elem(&into_cidr, &key);
	if (!own)
		return 0;
	if (key.prefix) {
		key.prefix--;
		shorter = bpf_map_lookup_elem(&into_cidr, &key);
	}
	if (own != shorter)
		add_cidr(sum, (const __u64 *)&keys->all[at], own);
	return 0;
}

/* Sums up those entries in the blocks that are in the map. */
SEC("raw_tp")
int aegis_sum_cidr(void *ctx)
{
	__u32 only = 0;
	union cidr_answer *answer = bpf_map_lookup_elem(&answer_cidr, &only);
	struct sum sum = {};

	if (!answer)
		return 0;
	bpf_loop(answer->put.count, sum_cidr, &sum, 0);
	answer->sum = sum;
	return 0;
}

/* Whether the map has as many entries as it has room for. No rule has the key that is tried, the prefix of all prefixes. */
SEC("raw_tp")
int aegis_full_cidr(void *ctx)
{
	__u32 only = 0;
	union cidr_answer *answer = bpf_map_lookup_elem(&answer_cidr, &only);
	struct cidr_key key = {};
	struct rule rule = {};

	if (!answer)
		return 0;
	answer->put.error = (int)bpf_map_update_elem(&into_cidr, &key, &rule, BPF_NOEXIST);
	if (!answer->put.error)
		bpf_map_delete_elem(&into_cidr, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
