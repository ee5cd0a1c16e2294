/* Maps, and how a question is put to the policy in force.
 *
 * Everything that belongs to one policy is in maps of its own, which two slots of map-in-maps hold. `aegis_now` says
 * which generation counts; its slot is the generation's lowest bit. A swap fills the other slot, then writes the new
 * generation: one aligned word. A decision reads the generation, decides, and reads it again: if it changed meanwhile, it
 * decides anew. So nothing is ever judged by a mix of two policies, however long the program was held up in between.
 *
 * Most operations concern no rule. Those are let go by may_*(), which look at `aegis_now` and at the filter alone, in the
 * hook itself; the functions that decide are for the rest, and assume nothing of what the first have seen.
 */
#ifndef AEGIS_DECIDE_H
#define AEGIS_DECIDE_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "layout.h"

/* Set before loading. The arrays of length 0 are types that only inner maps use: clang leaves those as forward
 * declarations unless a variable has them. */
struct settings {
	struct policy policy[0];
	struct file_key file_key[0];
	struct rule rule[0];
	struct name_key name_key[0];
	struct name_rule name_rule[0];
	struct group group[0];
	struct net_key net_key[0];
	struct cidr_key cidr_key[0];
	struct filter filter[0];
	__u64 scope_group; /* not 0: only what runs in this control group or below is judged: `policy test`, and tests */
	__u32 scope_level;
	__u32 layout;
};
const volatile struct settings aegis_settings = {.layout = AEGIS_LAYOUT};

#define OUTER(name, inner)                            \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); \
		__uint(max_entries, 2);               \
		__type(key, __u32);                   \
		__array(values, struct inner);        \
	} name SEC(".maps")

#define INNER_HASH(inner, k, v)                 \
	struct inner {                          \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, 1);         \
		__type(key, k);                 \
		__type(value, v);               \
	}

struct policy_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy);
};
OUTER(aegis_policy, policy_map);

struct filter_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter);
};
OUTER(aegis_filter, filter_map);

INNER_HASH(files_map, struct file_key, struct rule);
OUTER(aegis_files, files_map);
INNER_HASH(names_map, struct name_key, struct name_rule);
OUTER(aegis_names, names_map);
INNER_HASH(hashes_map, __u8[32], struct rule);
OUTER(aegis_hashes, hashes_map);
INNER_HASH(comms_map, char[16], struct rule);
OUTER(aegis_comms, comms_map);
INNER_HASH(groups_map, __u64, struct group);
OUTER(aegis_groups, groups_map);
INNER_HASH(net_map, struct net_key, struct rule);
OUTER(aegis_net, net_map);

struct cidrs_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct cidr_key);
	__type(value, struct rule);
};
OUTER(aegis_cidrs, cidrs_map);

/* What counts, with what most decisions need of it: see NOW_*. A section of its own is a map of its own, which programs
 * read without a call. */
volatile __u64 aegis_now SEC(".data.aegis_now") = 0;

/* How often a directory or a symbolic link came to a name on the way to what the policy names, or went from one: the
 * programs count. How far they had counted when the paths in force were resolved: the agent's word. A write from outside
 * replaces the whole value of a map, so each is one of its own. */
volatile __u64 aegis_moved SEC(".data.aegis_moved") = 0;
volatile __u64 aegis_resolved SEC(".data.aegis_resolved") = 0;

/* The agent's own program, directories and pins. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct self_key);
	__type(value, __u32);
} aegis_self SEC(".maps");

/* What programs hashed to when they were run: they cannot change while they run. */
struct measured_key {
	__u64 inode;
	__u32 device;
	__u32 zero;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct measured_key);
	__type(value, __u8[32]);
} aegis_measured SEC(".maps");
bool aegis_measuring; /* something has been put into it */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} aegis_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} aegis_events SEC(".maps");

#define COUNT(field)                                                                    \
	do {                                                                            \
		__u32 zero_ = 0;                                                        \
		struct counters *counters_ = bpf_map_lookup_elem(&aegis_counters, &zero_); \
		if (counters_)                                                          \
			counters_->field++;                                             \
	} while (0)

/* The policy that a decision looks at: what it needs of it, by value, since a pointer to it could not be handed to the
 * functions that the verifier looks at one by one. */
struct view {
	__u64 generation;
	__u64 told; /* the generation whose policy it is: not the newest, if that was not confirmed in time */
	__u32 slot;
	__u32 flags;
	__u32 group_levels;
};

static __always_inline __u64 generation(void)
{
	return aegis_now & NOW_GENERATION;
}

/* Whether the policy that counts has some of the flags, or only the maps know. */
static __always_inline bool has(__u64 now, __u32 flags)
{
	return now & (((__u64)flags << NOW_FLAGS) | NOW_ASK);
}

static __always_inline bool settled(const struct view *view)
{
	if (generation() == view->generation)
		return true;
	COUNT(retried);
	return false;
}

/* Whether some directory may be a node of the tree of names, and not be known as one yet. */
static __always_inline bool stirred(void)
{
	return aegis_moved != aegis_resolved;
}

static __always_inline void stir(void)
{
	struct stir told = {.moved = __sync_fetch_and_add(&aegis_moved, 1)};

	/* Until the agent has looked, the first of them says it all. Without room, it looks in its next round. */
	if (told.moved == aegis_resolved)
		bpf_ringbuf_output(&aegis_events, &told, sizeof(told), 0);
}

static __always_inline struct policy *policy_in(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&aegis_policy, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

static __always_inline bool look(struct view *view)
{
	struct policy *policy;
	__u64 now = aegis_now;

	view->flags = 0;
	view->generation = now & NOW_GENERATION;
	/* While the word is written its bytes may be of two generations, and be zero together; the lowest bit is always that of
	 * one of both, and the flag stands meanwhile. */
	if (!view->generation && !(now & NOW_ASK))
		return false;
	view->told = view->generation;
	view->slot = view->generation & 1;
	policy = policy_in(view->slot);
	if (!policy)
		return false;
	if (policy->deadline && bpf_ktime_get_boot_ns() > policy->deadline) {
		view->slot ^= 1;
		view->told--;
		policy = policy_in(view->slot);
		if (!policy)
			return false;
	}
	view->flags = policy->flags;
	view->group_levels = policy->group_levels;
	return true;
}

static __always_inline __u32 header_line(const struct view *view, __u32 which)
{
	struct policy *policy = policy_in(view->slot);

	return policy ? policy->lines[which & 7] : 0;
}

/* Asks up to three times, as long as swaps overtake the answer; each lasts far longer than a decision. */
#define DECIDE(view, found, question)                               \
	do {                                                        \
		_Pragma("clang loop unroll(full)")               \
		for (int try_ = 0; try_ < 3; try_++) {              \
			found = look(view) && (question);           \
			if (settled(view))                          \
				break;                              \
		}                                                   \
	} while (0)

/* ---- the filter ----------------------------------------------------------------------------------- */

#define GOLDEN 0x9E3779B97F4A7C15ull

/* The hashes of what the filter holds. Control groups do not count, nor do a directory's device, the directory that a name
 * is in, or the port of an address. */
static __always_inline __u64 file_hash(__u64 inode, __u32 device)
{
	return (inode ^ ((__u64)device << 32)) * GOLDEN;
}

static __always_inline __u64 directory_hash(__u64 inode)
{
	return ~inode * GOLDEN;
}

static __always_inline __u64 address_hash(__u64 high, __u64 low)
{
	return (low ^ (high * GOLDEN)) * GOLDEN;
}

static __always_inline __u64 port_hash(__u16 port)
{
	return ~(__u64)port * GOLDEN;
}

static __always_inline __u64 filter_bits(__u64 hash)
{
	return (1ull << ((hash >> 40) & 63)) | (1ull << ((hash >> 34) & 63));
}

static __always_inline struct filter *filter_in(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&aegis_filter, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

/* The filter of the policy that counts; none while it is put away, or where only the maps know: then it is a slot that
 * there is not. */
static __always_inline struct filter *filter_now(__u64 now)
{
	return filter_in(now >> NOW_SLOT);
}

/* Of `by` the lowest six bits count (RFC 9669, 4.1), which C would have cut out first. */
static __always_inline __u64 shifted(__u64 value, __u64 by)
{
	asm("%0 >>= %1" : "+r"(value) : "r"(by));
	return value;
}

static __always_inline bool may_have(const struct filter *filter, __u64 hash)
{
	__u64 bits = *(const volatile __u64 *)&filter->words[hash >> (64 - FILTER_BITS)];

	/* Most often the first is not there. */
	return (shifted(bits, hash >> 40) & 1) && (shifted(bits, hash >> 34) & 1);
}

static __always_inline bool maybe(const struct view *view, __u64 hash)
{
	const struct filter *filter = filter_in(view->slot);

	return filter && may_have(filter, hash);
}

/* ---- who asks ------------------------------------------------------------------------------------ */

static __always_inline __u64 ancestor_id(struct cgroup *group, __u32 level)
{
	struct cgroup *ancestor = NULL;

	bpf_core_read(&ancestor, sizeof(ancestor), &group->ancestors[level]);
	return ancestor ? BPF_CORE_READ(ancestor, kn, id) : 0;
}

static __always_inline struct cgroup *current_group(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, cgroups, dfl_cgrp);
}

/* Whether the task is judged at all by these programs. Costs nothing on a host: the constant is 0 there. */
static __always_inline bool out_of_scope(void)
{
	struct cgroup *group;

	if (!aegis_settings.scope_group)
		return false;
	group = current_group();
	if (BPF_CORE_READ(group, level) < (int)aegis_settings.scope_level)
		return true;
	return ancestor_id(group, aegis_settings.scope_level) != aegis_settings.scope_group;
}

/* Calls for each control group of the policy that the task is in, from the root down. */
#define FOR_EACH_GROUP(view, group_, level_, entry_)                                                  \
	struct cgroup *group_ = current_group();                                                      \
	int depth_##group_ = BPF_CORE_READ(group_, level);                                            \
	for (__u32 level_ = 0; level_ < GROUP_LEVELS && (int)level_ <= depth_##group_; level_++)      \
		for (struct group *entry_ = group_at(view, group_, level_); entry_; entry_ = NULL)

static __always_inline struct group *group_at(const struct view *view, struct cgroup *group, __u32 level)
{
	__u64 id;
	void *inner;

	__u32 slot = view->slot;

	if (!(view->group_levels & (1u << (level & 31))))
		return NULL;
	id = ancestor_id(group, level);
	inner = bpf_map_lookup_elem(&aegis_groups, &slot);
	return inner ? bpf_map_lookup_elem(inner, &id) : NULL;
}

static __always_inline struct inode *current_program(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, mm, exe_file, f_inode);
}

static __always_inline bool runs_own(struct inode *inode)
{
	struct self_key key = {.kind = SELF_PROGRAM};

	if (!inode)
		return false;
	key.inode = BPF_CORE_READ(inode, i_ino);
	key.device = BPF_CORE_READ(inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&aegis_self, &key) != NULL;
}

__noinline int in_allowed_group(struct view *view)
{
	if (!view)
		return 0;
	FOR_EACH_GROUP(view, group, level, entry)
		if (entry->allow)
			return 1;
	return 0;
}

/* Asked only after a rule has matched, so that what no rule concerns pays nothing for it. */
__noinline int exempt(struct view *view)
{
	/* PID 1 brings the host up again; locking it out helps nobody. The agent is not here: who may run it could have it
	 * read what he may not. */
	if (!view || bpf_get_current_pid_tgid() >> 32 == 1)
		return 1;
	/* A swap takes the maps of the policy that the rule is of away. Then the next policy says who passes. */
	_Pragma("clang loop unroll(full)")
	for (int try_ = 0; try_ < 2; try_++) {
		if ((view->flags & POLICY_ALLOW_GROUPS) && in_allowed_group(view))
			return 1;
		if (settled(view) || !look(view))
			break;
	}
	return 0;
}

/* ---- files ----------------------------------------------------------------------------------------- */

/* A file that a decision is about, and the name by which it was reached. */
struct subject {
	__u64 inode;
	__u64 directory; /* inode of the directory that the name is in */
	struct dentry *name; /* NULL: the root of a file system, or no name at all */
	__u32 device;
	__u32 directory_device;
};

static __always_inline __u64 entry_hash(__u64 inode, __u32 device, __u32 group)
{
	return group == GROUP_DIRECTORY ? directory_hash(inode) : file_hash(inode, device);
}

static __always_inline struct rule *file_entry(const struct view *view, __u64 inode, __u32 device, __u32 group)
{
	struct file_key key = {.inode = inode, .device = device, .group = group};
	__u32 slot = view->slot;
	void *inner;

	struct rule *entry;

	if (!maybe(view, entry_hash(inode, device, group)))
		return NULL;
	inner = bpf_map_lookup_elem(&aegis_files, &slot);
	entry = inner ? bpf_map_lookup_elem(inner, &key) : NULL;
	return entry && !(entry->flags & RULE_GONE) ? entry : NULL;
}

/* `length`, 32 at most, so that the verifier sees it: the compiler knows it already and would leave the bound out. */
static __always_inline __u32 bounded(__u32 length)
{
	asm volatile("" : "+r"(length));
	return length > NAME_LENGTH ? NAME_LENGTH : length;
}

static __always_inline __u64 mix(__u64 a, __u64 b)
{
	__u64 h = (a ^ (b * GOLDEN)) * 0xBF58476D1CE4E5B9ull;

	h = (h ^ (h >> 31)) * 0x94D049BB133111EBull;
	return h ^ (h >> 29);
}

/* A long name becomes its beginning and a hash. Who finds a name that collides has one file more denied to him. */
__noinline int read_long_name(struct name_key *key, __u64 address)
{
	const unsigned char *name = (const unsigned char *)address;
	__u64 first = 0, second = 0, chunk[4];
	__u32 done = 0;

	if (!key)
		return 0;
	_Pragma("clang loop unroll(disable)")
	for (int i = 0; i < 8; i++) {
		__u32 left = key->length - done;

		if (done >= key->length)
			break;
		chunk[0] = chunk[1] = chunk[2] = chunk[3] = 0;
		if (left > sizeof(chunk))
			left = sizeof(chunk);
		if (bpf_probe_read_kernel(chunk, bounded(left), name + done))
			return 0;
		first = mix(mix(first + chunk[0], chunk[1]), mix(chunk[2], chunk[3]));
		second = mix(second ^ first, chunk[0] + chunk[3]);
		done += sizeof(chunk);
	}
	if (bpf_probe_read_kernel(key->name, 16, name))
		return 0;
	__builtin_memcpy(key->name + 16, &first, 8);
	__builtin_memcpy(key->name + 24, &second, 8);
	return 1;
}

static __always_inline bool read_name(struct name_key *key, const unsigned char *name)
{
	if (key->length == 0 || key->length > NAME_MAX)
		return false;
	if (key->length <= NAME_LENGTH)
		return !bpf_probe_read_kernel(key->name, bounded(key->length), name);
	return read_long_name(key, (__u64)name);
}

static __always_inline __u64 mixed(__u64 h, __u64 word)
{
	h = (h ^ word) * GOLDEN;
	return h ^ (h >> 32);
}

static __always_inline bool may_have_file(const struct filter *filter, struct inode *inode)
{
	return may_have(filter, file_hash(inode->i_ino, inode->i_sb->s_dev));
}

/* Whether the filter may have the name, in whatever directory. A long one is not asked for. */
static __always_inline bool may_have_name(const struct filter *filter, struct dentry *dentry)
{
	__u32 length = dentry->d_name.len;
	__u64 name[NAME_LENGTH / 8] = {}, h;

	if (length == 0 || length > NAME_LENGTH || bpf_probe_read_kernel(name, bounded(length), dentry->d_name.name))
		return true;
	h = mixed(length, name[0]);
	if (length > 8)
		h = mixed(h, name[1]);
	if (length > 16)
		h = mixed(mixed(h, name[2]), name[3]);
	return may_have(filter, h * GOLDEN);
}

/* Whether the filter may have the directory that the name is in, and the name. Once names have moved, any directory may be
 * one that the policy means. */
static __always_inline bool may_have_entry(const struct filter *filter, struct dentry *dentry)
{
	return (may_have(filter, directory_hash(dentry->d_parent->d_inode->i_ino)) || stirred()) &&
	       may_have_name(filter, dentry);
}

/* Whether some rule may concern what is by that name in its directory. */
static __always_inline bool may_be_named(struct dentry *dentry)
{
	__u64 now = aegis_now;
	struct filter *filter;

	if (!has(now, POLICY_NAMES))
		return false;
	filter = filter_now(now);
	if (!filter)
		return true;
	return may_have_entry(filter, dentry) || aegis_now != now;
}

/* Whether some rule may concern a file, by its number or by the name by which it was reached. To be asked where there are
 * rules for files. */
static __always_inline bool may_be_ruled(__u64 now, struct inode *inode, struct dentry *dentry)
{
	struct filter *filter = filter_now(now);

	if (!filter)
		return true;
	/* Without rules for names there is no directory of one. */
	return may_have_file(filter, inode) || may_have_entry(filter, dentry) || aegis_now != now;
}

/* Whether a file or a directory may be known by its number. */
static __always_inline bool may_be_marked(struct inode *inode)
{
	__u64 now = aegis_now;
	struct filter *filter;

	if (!has(now, POLICY_NAMES))
		return false;
	filter = filter_now(now);
	if (!filter)
		return true;
	return may_have_file(filter, inode) ||
	       may_have(filter, directory_hash(inode->i_ino)) || aegis_now != now;
}

/* Puts an entry in for an inode that came under a name of the policy, so that it is known by every other name too. */
static __always_inline void put_mark(const struct view *view, __u64 inode, __u32 device, __u32 group,
				     const struct rule *rule)
{
	__u64 hash = entry_hash(inode, device, group);
	struct filter *filter = filter_in(view->slot);
	struct file_key key = {.inode = inode, .device = device, .group = group};
	__u32 slot = view->slot;
	void *inner = bpf_map_lookup_elem(&aegis_files, &slot);

	if (!inner || !filter)
		return;
	/* First the bits, so that nobody who looks in between takes their absence for an answer. */
	__sync_fetch_and_or(&filter->words[hash >> (64 - FILTER_BITS)], filter_bits(hash));
	if (bpf_map_update_elem(inner, &key, rule, BPF_ANY))
		COUNT(unmarked);
}

static __always_inline struct name_rule *name_in(const struct view *view, const struct name_key *key)
{
	__u32 slot = view->slot;
	void *inner = bpf_map_lookup_elem(&aegis_names, &slot);

	return inner ? bpf_map_lookup_elem(inner, key) : NULL;
}

/* What the policy says of a name in its directory, if the directory is one of the tree. */
static __always_inline struct name_rule *named(const struct view *view, const struct subject *subject)
{
	struct dentry *dentry = subject->name;
	struct name_key key = {};
	struct rule *mark;

	if (!dentry)
		return NULL;
	mark = file_entry(view, subject->directory, subject->directory_device, GROUP_DIRECTORY);
	if (!mark)
		return NULL;
	key.node = mark->line;
	key.length = BPF_CORE_READ(dentry, d_name.len);
	if (!read_name(&key, BPF_CORE_READ(dentry, d_name.name)))
		return NULL;
	return name_in(view, &key);
}

static __always_inline void mark(const struct view *view, const struct subject *subject, bool directory,
				 const struct name_rule *name)
{
	if (name->present) {
		struct rule rule = name->rule;

		if (!file_entry(view, subject->inode, subject->device, 0))
			put_mark(view, subject->inode, subject->device, 0, &rule);
	}
	if (name->node && directory) {
		struct rule node = {.line = name->node};

		put_mark(view, subject->inode, subject->device, GROUP_DIRECTORY, &node);
	}
}

/* What comes to a name, or goes from it. */
#define NAMED_DIRECTORY 1
#define NAMED_LINK 2  /* symbolic */
#define NAMED_MOVES 4 /* it was made elsewhere, or leads elsewhere: not a look at what has been there all the time */

/* A name and a file that come together: the file is known by that rule from now on, under whatever name. Without a file
 * yet, all that is to be known is whether the name is on the way of a path. */
static __always_inline void meet(const struct view *view, const struct subject *subject, __u32 what,
				 const struct name_rule *name)
{
	/* First the count, so that whoever comes after it looks again. */
	if ((what & NAMED_MOVES) && ((what & NAMED_LINK) || ((what & NAMED_DIRECTORY) && name->node)))
		stir();
	if (subject->inode)
		mark(view, subject, what & NAMED_DIRECTORY, name);
}

__noinline int mark_named(struct subject *subject, __u32 what)
{
	struct view view = {};
	struct name_rule *name;

	if (!subject || !look(&view) || !(view.flags & POLICY_NAMES))
		return 0;
	name = named(&view, subject);
	if (name)
		meet(&view, subject, what, name);
	return 0;
}

/* What the policy says of the name of a file in the directory that is `key->node`, if that is one of the tree. */
static __always_inline struct name_rule *name_at(const struct view *view, struct name_key *key, struct dentry *dentry)
{
	__builtin_memset(key->name, 0, sizeof(key->name));
	key->length = BPF_CORE_READ(dentry, d_name.len);
	if (!key->node || !read_name(key, BPF_CORE_READ(dentry, d_name.name)))
		return NULL;
	return name_in(view, key);
}

/* So many directories above a name. By itself, so that the verifier looks at the loop once. */
__noinline __u64 above(__u64 dentry, __u32 levels)
{
	_Pragma("clang loop unroll(disable)")
	for (__u32 i = 0; i < CLIMB && i < levels; i++)
		dentry = (__u64)BPF_CORE_READ((struct dentry *)dentry, d_parent);
	return dentry;
}

/* What the policy says of a name by the names above it: where a tree was renamed to a name of the policy, what is in it is
 * not known by number. From the highest of these directories down, each is what its name is in the one above it, or else
 * what it is known as. It is known from then on. For each directory the way to it is gone anew, since the stack of a
 * program has no room for it. */
__noinline int climb(struct view *view, struct subject *subject, struct rule *rule, __u32 what)
{
	struct name_key key = {};
	struct name_rule *name;

	if (!view || !subject || !subject->name || !look(view) || !(view->flags & POLICY_NAMES))
		return 0;
	_Pragma("clang loop unroll(disable)")
	for (int i = CLIMB; i > 0; i--) {
		struct dentry *below = (struct dentry *)above((__u64)subject->name, i - 1);
		struct dentry *at = BPF_CORE_READ(below, d_parent);
		struct inode *inode;
		struct rule *known;
		__u64 number;
		__u32 device;

		/* The root of a file system is above itself. */
		if (at == below)
			continue;
		name = name_at(view, &key, at);
		inode = BPF_CORE_READ(at, d_inode);
		number = BPF_CORE_READ(inode, i_ino);
		device = BPF_CORE_READ(inode, i_sb, s_dev);
		known = file_entry(view, number, device, GROUP_DIRECTORY);
		key.node = name ? name->node : 0;
		if (!key.node) {
			key.node = known ? known->line : 0;
		} else if (!known) {
			struct rule mark = {.line = key.node};

			put_mark(view, number, device, GROUP_DIRECTORY, &mark);
		}
	}
	name = name_at(view, &key, subject->name);
	if (!name)
		return 0;
	meet(view, subject, what, name);
	if (!name->present)
		return 0;
	if (rule)
		*rule = name->rule;
	return 1;
}

static __always_inline bool climbed(struct view *view, struct subject *subject, struct rule *rule, __u32 what)
{
	bool found = false;

	if (!stirred())
		return false;
	_Pragma("clang loop unroll(full)")
	for (int try_ = 0; try_ < 3; try_++) {
		found = climb(view, subject, rule, what);
		if (settled(view))
			break;
	}
	return found;
}

/* The rule of a control group that the task is in. By itself, so that the verifier looks at the loop once. */
__noinline int scoped_file(struct view *view, struct subject *subject, struct rule *rule)
{
	if (!view || !subject || !rule)
		return 0;
	FOR_EACH_GROUP(view, group, level, member) {
		struct rule *entry;

		if (!member->number)
			continue;
		entry = file_entry(view, subject->inode, subject->device, member->number);
		if (entry) {
			*rule = *entry;
			return 1;
		}
	}
	return 0;
}

/* The rule for a file. A denial goes before a protection. */
static __always_inline bool file_rule(struct view *view, struct subject *subject, struct rule *rule)
{
	struct rule *entry;
	bool found = false;

	if (!(view->flags & POLICY_FILES))
		return false;
	entry = file_entry(view, subject->inode, subject->device, 0);
	if (entry) {
		*rule = *entry;
		if (!(entry->flags & RULE_PROTECT))
			return true;
		found = true;
	}
	if (view->flags & POLICY_NAMES) {
		struct name_rule *name = named(view, subject);

		if (name && name->present) {
			mark(view, subject, false, name);
			if (!found || !(name->rule.flags & RULE_PROTECT))
				*rule = name->rule;
			found = true;
			if (!(rule->flags & RULE_PROTECT))
				return true;
		}
	}
	if ((view->flags & POLICY_SCOPED_FILES) && scoped_file(view, subject, rule))
		return true;
	return found;
}

__noinline int decide_file(struct view *view, struct subject *subject, struct rule *rule)
{
	bool found = false;

	if (!view || !subject || !rule)
		return 0;
	DECIDE(view, found, file_rule(view, subject, rule));
	return found;
}

static __always_inline bool name_rule(const struct view *view, const struct subject *subject, struct rule *rule)
{
	struct name_rule *name;

	if (!(view->flags & POLICY_NAMES))
		return false;
	name = named(view, subject);
	if (!name || !name->present)
		return false;
	*rule = name->rule;
	return true;
}

/* The same for a name that has no file yet. */
__noinline int decide_name(struct view *view, struct subject *subject, struct rule *rule)
{
	bool found = false;

	if (!view || !subject || !rule)
		return 0;
	DECIDE(view, found, name_rule(view, subject, rule));
	return found;
}

/* The hooks ask these. Below the functions that decide there would be no room on the stack to climb. */
static __always_inline bool find_file(struct view *view, struct subject *subject, struct rule *rule)
{
	bool found = decide_file(view, subject, rule);

	if (found && !(rule->flags & RULE_PROTECT))
		return true;
	return climbed(view, subject, rule, 0) || found;
}

static __always_inline bool find_name(struct view *view, struct subject *subject, struct rule *rule)
{
	return decide_name(view, subject, rule) || climbed(view, subject, rule, 0);
}

static __always_inline void met(struct subject *subject, __u32 what)
{
	struct view view = {};

	mark_named(subject, what);
	climbed(&view, subject, NULL, what);
}

/* ---- the network ------------------------------------------------------------------------------------ */

struct peer {
	__u64 high, low; /* network order, IPv4 as ::ffff:a.b.c.d */
	__u16 port;
	__u8 family; /* 4 or 6; 0: no address that a rule could name */
	__u8 protocol;
};

/* The lower half of an address of IPv4 in the form of IPv6. */
static __always_inline __u64 v4_low(__be32 address)
{
	return __builtin_bswap64(0xffff00000000ull) | ((__u64)address << 32);
}

/* Connecting to 0.0.0.0 reaches this host, by the address that the socket is bound to; binding to it is only that. */
static __always_inline void set_address4(struct peer *peer, __be32 address, __be32 own, bool bound)
{
	if (!address && !bound)
		address = own ? own : __builtin_bswap32(0x7f000001);
	peer->family = 4;
	peer->high = 0;
	peer->low = v4_low(address);
}

static __always_inline bool is_mapped(__u64 high, __u64 low)
{
	return !high && (low & 0xffffffffull) == __builtin_bswap64(0xffff00000000ull);
}

static __always_inline void set_address6(struct peer *peer, __u64 high, __u64 low, __be32 own, bool bound)
{
	if (is_mapped(high, low)) {
		set_address4(peer, low >> 32, own, bound);
		return;
	}
	peer->family = 6;
	peer->high = high;
	peer->low = low;
}

/* The unspecified address of IPv6 reaches this host, by IPv4 if the socket is bound to an address of that. */
static __always_inline void set_any6(struct peer *peer, __u64 own_high, __u64 own_low)
{
	if (is_mapped(own_high, own_low))
		set_address4(peer, 0, 0, false);
	else
		set_address6(peer, 0, __builtin_bswap64(1), 0, false);
}

/* Whether some rule may concern an address of IPv4 or IPv6, or a port, of whatever protocol. */
static __always_inline bool may_be_reached(__u64 high, __u64 low, __u16 port)
{
	__u64 now = aegis_now;
	struct filter *filter;

	if (has(now, POLICY_CIDR | POLICY_PROTECT_CONNECT))
		return true;
	if (!has(now, POLICY_ADDRESSES | POLICY_PORTS))
		return low == v4_low(CANARY_ADDRESS) || aegis_now != now;
	filter = filter_now(now);
	if (!filter || may_have(filter, address_hash(high, low)))
		return true;
	return (has(now, POLICY_PORTS) && may_have(filter, port_hash(port))) || aegis_now != now;
}

/* Whether some rule may concern a port that is bound to. */
static __always_inline bool may_be_bound(__u16 port)
{
	__u64 now = aegis_now;
	struct filter *filter;

	if (!has(now, POLICY_PORTS))
		return false;
	filter = filter_now(now);
	return !filter || may_have(filter, port_hash(port)) || aegis_now != now;
}

static __always_inline struct rule *net_entry(const struct view *view, const struct peer *peer, __u32 group,
					      __u8 kind)
{
	struct net_key key = {.kind = kind, .group = group};
	__u32 slot = view->slot;
	void *inner;

	if (kind != NET_PORT) {
		key.high = peer->high;
		key.low = peer->low;
	}
	if (kind != NET_ADDRESS)
		key.port = peer->port;
	if (!maybe(view, kind == NET_PORT ? port_hash(key.port) : address_hash(key.high, key.low)))
		return NULL;
	inner = bpf_map_lookup_elem(&aegis_net, &slot);
	return inner ? bpf_map_lookup_elem(inner, &key) : NULL;
}

static __always_inline bool take(struct rule *entry, __u8 protocols, struct rule *rule)
{
	if (!entry || !(entry->protocols & protocols))
		return false;
	*rule = *entry;
	return true;
}

static __always_inline bool connect_rules(const struct view *view, const struct peer *peer, __u32 group,
					  struct rule *rule)
{
	return take(net_entry(view, peer, group, NET_ENDPOINT), peer->protocol, rule) ||
	       take(net_entry(view, peer, group, NET_ADDRESS), 0xff, rule) ||
	       take(net_entry(view, peer, group, NET_PORT), peer->protocol, rule);
}

static __always_inline bool cidr_rule(const struct view *view, const struct peer *peer, struct rule *rule)
{
	struct cidr_key key = {.family = peer->family};
	__u32 slot = view->slot, last;
	void *inner = bpf_map_lookup_elem(&aegis_cidrs, &slot);
	struct rule *entry;

	if (!inner)
		return false;
	if (peer->family == 4) {
		last = peer->low >> 32;
		key.prefix = 8 + 32;
		__builtin_memcpy(key.address, &last, 4);
	} else {
		key.prefix = 8 + 128;
		__builtin_memcpy(key.address, &peer->high, 8);
		__builtin_memcpy(key.address + 8, &peer->low, 8);
	}
	entry = bpf_map_lookup_elem(inner, &key);
	if (!entry)
		return false;
	*rule = *entry;
	return true;
}

/* As scoped_file(). */
__noinline int scoped_connect(struct view *view, struct peer *peer, struct rule *rule)
{
	if (!view || !peer || !rule)
		return 0;
	FOR_EACH_GROUP(view, group, level, member)
		if (member->number && connect_rules(view, peer, member->number, rule))
			return 1;
	return 0;
}

__noinline int scoped_bind(struct view *view, struct peer *peer, struct rule *rule)
{
	if (!view || !peer || !rule)
		return 0;
	FOR_EACH_GROUP(view, group, level, member)
		if (member->number &&
		    take(net_entry(view, peer, member->number, NET_PORT), peer->protocol << PROTO_BIND, rule))
			return 1;
	return 0;
}

static __always_inline bool connect_rule(struct view *view, struct peer *peer, struct rule *rule)
{
	__u32 flags = view->flags;

	if ((flags & POLICY_NET) && connect_rules(view, peer, 0, rule))
		return true;
	if ((flags & POLICY_CIDR) && cidr_rule(view, peer, rule))
		return true;
	if ((flags & POLICY_SCOPED_NET) && scoped_connect(view, peer, rule))
		return true;
	if (flags & POLICY_PROTECT_CONNECT) {
		rule->line = header_line(view, 0);
		rule->section = SECTION_PROTECT_CONNECT;
		rule->protocols = 0;
		rule->flags = RULE_PROTECT;
		return true;
	}
	return false;
}

static __always_inline bool bind_rule(struct view *view, struct peer *peer, struct rule *rule)
{
	__u32 flags = view->flags;
	__u8 protocols = peer->protocol << PROTO_BIND;

	if ((flags & POLICY_NET) && take(net_entry(view, peer, 0, NET_PORT), protocols, rule))
		return true;
	if ((flags & POLICY_SCOPED_NET) && scoped_bind(view, peer, rule))
		return true;
	return false;
}

__noinline int decide_connect(struct view *view, struct peer *peer, struct rule *rule)
{
	bool found = false;

	if (!view || !peer || !rule)
		return 0;
	DECIDE(view, found, connect_rule(view, peer, rule));
	return found;
}

__noinline int decide_bind(struct view *view, struct peer *peer, struct rule *rule)
{
	bool found = false;

	if (!view || !peer || !rule)
		return 0;
	DECIDE(view, found, bind_rule(view, peer, rule));
	return found;
}

/* ---- programs ---------------------------------------------------------------------------------------- */

static __always_inline struct rule *hash_entry(const struct view *view, const __u8 *hash)
{
	__u32 slot = view->slot;
	void *inner = bpf_map_lookup_elem(&aegis_hashes, &slot);
	__u8 key[32];

	__builtin_memcpy(key, hash, sizeof(key));
	return inner ? bpf_map_lookup_elem(inner, key) : NULL;
}

/* Who has mapped code that is on no list. By thread, for what the thread starts, and by process, for the other threads of
 * the process. The number of the program that did it is part of it: what the process runs next starts clean. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} aegis_taint SEC(".maps");

struct process_key {
	__u64 exec_id;
	__u32 process;
	__u32 of_address;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, __u32);
} aegis_taints SEC(".maps");
/* A new task has no number yet. Where the kernel cannot give it storage either, which newer ones cannot on processors that
 * compare and exchange no 16 bytes at once, it is known by its address. */
#define BY_ADDRESS 0xffffffffu
bool aegis_by_address;
bool aegis_tainting; /* something has been put into one of them */

static __always_inline __u8 *measured(struct inode *inode)
{
	struct measured_key key = {};

	if (!inode)
		return NULL;
	key.inode = BPF_CORE_READ(inode, i_ino);
	key.device = BPF_CORE_READ(inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&aegis_measured, &key);
}

static __always_inline bool verified(const struct view *view)
{
	__u8 *hash = measured(current_program());
	struct rule *entry = hash ? hash_entry(view, hash) : NULL;

	return entry && (entry->flags & (RULE_LISTED | RULE_TRUSTED)) && !(entry->flags & RULE_DENIED);
}

/* ---- events ------------------------------------------------------------------------------------------- */

/* What an event tells beside who asked. */
struct matter {
	__u64 inode;
	__u32 device;
	__u32 operation;
	__u32 target;
	__u32 denied;
	__u32 has_hash;
	struct peer peer;
	__u8 hash[32];
};

/* Fills in all but the path. */
__noinline int fill_event(struct event *event, struct view *view, struct rule *rule, struct matter *matter)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *parent;
	__u64 id = bpf_get_current_pid_tgid(), user = bpf_get_current_uid_gid();
	struct inode *program = current_program();

	if (!event || !view || !rule || !matter)
		return 0;
	__builtin_memset(event, 0, __builtin_offsetof(struct event, path));
	event->path[0] = 0;
	event->time = bpf_ktime_get_boot_ns();
	event->generation = view->told;
	event->rule = *rule;
	event->operation = matter->operation;
	event->denied = matter->denied;
	event->pid = id >> 32;
	event->tid = id;
	event->uid = user;
	event->gid = user >> 32;
	event->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (program) {
		event->exe_inode = BPF_CORE_READ(program, i_ino);
		event->exe_device = BPF_CORE_READ(program, i_sb, s_dev);
	}
	event->inode = matter->inode;
	event->device = matter->device;
	event->target = matter->target;
	event->family = matter->peer.family;
	event->port = matter->peer.port;
	event->protocol = matter->peer.protocol;
	__builtin_memcpy(event->address, &matter->peer.high, 8);
	__builtin_memcpy(event->address + 8, &matter->peer.low, 8);
	event->has_hash = matter->has_hash;
	__builtin_memcpy(event->hash, matter->hash, 32);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	parent = BPF_CORE_READ(task, real_parent);
	_Pragma("clang loop unroll(full)")
	for (int i = 0; i < PARENTS; i++) {
		__u32 pid = BPF_CORE_READ(parent, tgid);

		if (!pid)
			break;
		event->parents[i].pid = pid;
		bpf_core_read(event->parents[i].comm, 16, &parent->comm);
		parent = BPF_CORE_READ(parent, real_parent);
	}
	return 0;
}

static __always_inline struct event *begin_event(bool denied)
{
	struct event *event = bpf_ringbuf_reserve(&aegis_events, sizeof(*event), 0);

	if (denied)
		COUNT(denied);
	else
		COUNT(audited);
	if (!event)
		COUNT(lost);
	return event;
}

/* An event without a path. */
__noinline int emit(struct view *view, struct rule *rule, struct matter *matter)
{
	struct event *event;

	if (!view || !rule || !matter)
		return 0;
	event = begin_event(matter->denied);
	if (!event)
		return 0;
	fill_event(event, view, rule, matter);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Whether a rule that matched stops the task. */
static __always_inline bool stands(struct view *view, const struct rule *rule, bool verified_)
{
	if (rule->flags & RULE_ALWAYS)
		return true;
	if ((rule->flags & RULE_PROTECT) && verified_)
		return false;
	return !exempt(view);
}

static __always_inline bool enforced(const struct view *view, const struct rule *rule)
{
	struct policy *policy;

	if (rule->flags & RULE_ALWAYS)
		return true;
	if (!(view->flags & POLICY_ENFORCE))
		return false;
	policy = policy_in(view->slot);
	return !policy || !policy->lifted || bpf_ktime_get_boot_ns() > policy->lifted;
}

#endif
