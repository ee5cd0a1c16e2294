/* The hooks of BPF-LSM. Each answers 0 or -EPERM, and asks nothing of the policy that it can know without. */
#ifndef AEGIS_LSM_H
#define AEGIS_LSM_H

#include "decide.h"

static __always_inline struct process_key task_address(const struct task_struct *task, __u64 exec_id)
{
	struct process_key key = {.exec_id = (__u64)task, .process = BY_ADDRESS, .of_address = exec_id};

	return key;
}

/* What a program is no longer what its file is for: it has mapped code that is on no list; or it says that it is the
 * program of another file (PR_SET_MM), which whoever has a user namespace of his own can say. */
#define TAINT_MAPPED 1
#define TAINT_DISGUISED 2

/* By thread, with the number of the program. */
static __always_inline __u64 taint_word(__u64 exec_id, __u32 taint)
{
	return exec_id << 2 | taint;
}

static __always_inline __u32 tainted(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 exec_id = task->self_exec_id + 1; /* so that 0 is no program */
	struct process_key key = {.exec_id = exec_id, .process = task->tgid};
	__u32 *of_process, *of_address;
	__u64 *of_thread;

	if (!aegis_tainting)
		return 0;
	of_process = bpf_map_lookup_elem(&aegis_taints, &key);
	if (of_process)
		return *of_process;
	of_thread = bpf_task_storage_get(&aegis_taint, task, 0, 0);
	if (of_thread && *of_thread >> 2 == exec_id)
		return *of_thread & 3;
	if (!aegis_by_address)
		return 0;
	key = task_address(task, exec_id);
	of_address = bpf_map_lookup_elem(&aegis_taints, &key);
	return of_address ? *of_address : 0;
}

static __always_inline void set_taint(__u32 taint)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 exec_id = task->self_exec_id + 1, *of_thread;
	struct process_key key = {.exec_id = exec_id, .process = task->tgid};

	taint |= tainted();
	aegis_tainting = true;
	bpf_map_update_elem(&aegis_taints, &key, &taint, BPF_ANY);
	of_thread = bpf_task_storage_get(&aegis_taint, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (of_thread)
		*of_thread = taint_word(exec_id, taint);
}

/* Whether the task runs the agent's program, and nobody else has a hand in it. */
static __always_inline bool is_self(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return runs_own(current_program()) && !BPF_CORE_READ(task, group_leader, ptrace) &&
	       !BPF_CORE_READ(task, ptrace) && !(tainted() & TAINT_DISGUISED);
}

/* Whether the program that runs is one of the policy's lists, and has mapped nothing else since. */
__noinline int still_verified(struct view *view)
{
	if (!view)
		return 0;
	/* As in exempt(): the lists may be gone with their policy. */
	_Pragma("clang loop unroll(full)")
	for (int try_ = 0; try_ < 2; try_++) {
		if (verified(view)) {
			__u32 taint = tainted();

			return !(taint & TAINT_DISGUISED) && !((view->flags & POLICY_RUNTIME_DEPS) && taint);
		}
		if (settled(view) || !look(view))
			break;
	}
	return 0;
}

/* What follows a rule that was found for something with a path: the event, and the answer. A macro, since the verifier
 * lets bpf_d_path have only a path that it can trace back to the hook's argument. */
#define ANSWER_FILE(view, rule, matter, path_)                                                          \
	({                                                                                              \
		int answer_ = 0;                                                                        \
		if (stands(view, rule, ((rule)->flags & RULE_PROTECT) && still_verified(view))) {       \
			(matter)->denied = enforced(view, rule);                                        \
			answer_ = (matter)->denied ? -EPERM : 0;                                        \
			if (!((rule)->flags & RULE_ALWAYS)) {                                           \
				struct event *event_ = begin_event((matter)->denied);                   \
				if (event_) {                                                           \
					fill_event(event_, view, rule, matter);                         \
					event_->path_length = bpf_d_path(path_, event_->path, EVENT_PATH); \
					bpf_ringbuf_submit(event_, 0);                                  \
				}                                                                       \
			}                                                                               \
		}                                                                                       \
		answer_;                                                                                \
	})

/* The same where there is no path to be had. */
static __always_inline int answer(struct view *view, struct rule *rule, struct matter *matter)
{
	if (!stands(view, rule, (rule->flags & RULE_PROTECT) && still_verified(view)))
		return 0;
	matter->denied = enforced(view, rule);
	if (!(rule->flags & RULE_ALWAYS))
		emit(view, rule, matter);
	return matter->denied ? -EPERM : 0;
}

/* ---- the agent itself ------------------------------------------------------------------------------ */

static __always_inline bool in_own(struct inode *inode, __u32 kind)
{
	struct self_key key = {.kind = kind};

	if (!inode)
		return false;
	key.inode = inode->i_ino;
	key.device = inode->i_sb->s_dev;
	return bpf_map_lookup_elem(&aegis_self, &key) != NULL;
}

/* What belongs to the agent is changed by the agent alone, whatever the policy says and as long as there is one. */
__noinline int refuse_tampering(__u64 inode, __u32 device)
{
	struct matter matter = {.operation = OP_TAMPER, .inode = inode, .device = device, .denied = true};
	struct rule rule = {.section = SECTION_SELF};
	struct view view = {};
	struct policy *policy;

	if (out_of_scope() || !look(&view) || is_self() || bpf_get_current_pid_tgid() >> 32 == 1)
		return 0;
	/* While denials are off, which takes a reason and where it is the rule two people, the agent can be replaced. */
	policy = policy_in(view.slot);
	if (policy && policy->lifted && bpf_ktime_get_boot_ns() < policy->lifted)
		return 0;
	emit(&view, &rule, &matter);
	return -EPERM;
}

static __always_inline int refuse_tampering_with(struct inode *inode)
{
	return inode ? refuse_tampering(inode->i_ino, inode->i_sb->s_dev) : refuse_tampering(0, 0);
}

/* ---- files ------------------------------------------------------------------------------------------ */

static __always_inline void take_name(struct subject *subject, struct dentry *dentry)
{
	struct dentry *parent = dentry->d_parent;
	struct inode *directory = parent->d_inode;

	if (!directory)
		return;
	subject->name = parent == dentry ? NULL : dentry;
	subject->directory = directory->i_ino;
	subject->directory_device = directory->i_sb->s_dev;
}

static __always_inline void take_inode(struct subject *subject, struct inode *inode)
{
	if (!inode)
		return;
	subject->inode = inode->i_ino;
	subject->device = inode->i_sb->s_dev;
}

static __always_inline void about(struct matter *matter, const struct subject *subject, __u32 operation)
{
	matter->inode = subject->inode;
	matter->device = subject->device;
	matter->operation = operation;
}

static __always_inline bool is_directory(struct inode *inode)
{
	return (inode->i_mode & S_IFMT) == S_IFDIR;
}

static __always_inline bool is_link(struct inode *inode)
{
	return (inode->i_mode & S_IFMT) == S_IFLNK;
}

/* Whether it is the agent's program or in one of its directories, and somebody else is about to change it. */
static __always_inline bool refuse_change_of(struct inode *inode, struct dentry *dentry)
{
	return (in_own(inode, SELF_PROGRAM) || in_own(dentry->d_parent->d_inode, SELF_DIRECTORY)) &&
	       refuse_tampering_with(inode);
}

/* By itself, so that what concerns no rule has few registers to save. */
static __noinline int open_maybe_ruled(struct file *file)
{
	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	if (out_of_scope())
		return 0;
	take_inode(&subject, file->f_inode);
	take_name(&subject, file->f_path.dentry);
	if (!find_file(&view, &subject, &rule))
		return 0;
	/* The agent reads what is in its own directories, and nothing else that is denied. */
	if (!(rule.flags & RULE_ALWAYS)) {
		struct self_key own = {.inode = subject.directory, .device = subject.directory_device,
				       .kind = SELF_DIRECTORY};

		if (bpf_map_lookup_elem(&aegis_self, &own) && is_self())
			return 0;
	}
	about(&matter, &subject, OP_OPEN);
	return ANSWER_FILE(&view, &rule, &matter, &file->f_path);
}

SEC("lsm/file_open")
int BPF_PROG(aegis_file_open, struct file *file)
{
	__u64 now = aegis_now;

	if ((file->f_mode & FMODE_WRITE) && refuse_change_of(file->f_inode, file->f_path.dentry))
		return -EPERM;
	if (!has(now, POLICY_FILES) || !may_be_ruled(now, file->f_inode, file->f_path.dentry))
		return 0;
	return open_maybe_ruled(file);
}

SEC("lsm/file_receive")
int BPF_PROG(aegis_file_receive, struct file *file)
{
	__u64 now = aegis_now;

	if (!has(now, POLICY_FILES) || !may_be_ruled(now, file->f_inode, file->f_path.dentry) || out_of_scope())
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	take_inode(&subject, file->f_inode);
	take_name(&subject, file->f_path.dentry);
	if (!find_file(&view, &subject, &rule))
		return 0;
	about(&matter, &subject, OP_RECEIVE);
	return ANSWER_FILE(&view, &rule, &matter, &file->f_path);
}

SEC("lsm/path_truncate")
int BPF_PROG(aegis_path_truncate, const struct path *path)
{
	struct dentry *dentry = path->dentry;
	__u64 now = aegis_now;

	if (refuse_change_of(dentry->d_inode, dentry))
		return -EPERM;
	if (!has(now, POLICY_FILES) || !may_be_ruled(now, dentry->d_inode, dentry) || out_of_scope())
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	take_inode(&subject, dentry->d_inode);
	take_name(&subject, dentry);
	if (!find_file(&view, &subject, &rule))
		return 0;
	about(&matter, &subject, OP_TRUNCATE);
	return answer(&view, &rule, &matter); /* bpf_d_path is not for this hook */
}

/* Whoever creates a file by a denied name would be refused to open it, and leave an empty file behind. */
SEC("lsm/inode_create")
int BPF_PROG(aegis_inode_create, struct inode *dir, struct dentry *dentry)
{
	if (in_own(dir, SELF_DIRECTORY) && refuse_tampering_with(dir))
		return -EPERM;
	if (out_of_scope() || !may_be_named(dentry))
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	take_name(&subject, dentry);
	if (!find_name(&view, &subject, &rule))
		return 0;
	about(&matter, &subject, OP_CREATE);
	return answer(&view, &rule, &matter);
}

/* What a denied name leads to would be read by that name. */
SEC("lsm/inode_symlink")
int BPF_PROG(aegis_inode_symlink, struct inode *dir, struct dentry *dentry)
{
	if (in_own(dir, SELF_DIRECTORY) && refuse_tampering_with(dir))
		return -EPERM;
	if (!may_be_named(dentry))
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	take_name(&subject, dentry);
	about(&matter, &subject, OP_CREATE);
	if (!out_of_scope() && find_name(&view, &subject, &rule) && answer(&view, &rule, &matter))
		return -EPERM;
	met(&subject, NAMED_LINK | NAMED_MOVES);
	return 0;
}

SEC("lsm/inode_mkdir")
int BPF_PROG(aegis_inode_mkdir, struct inode *dir)
{
	return in_own(dir, SELF_DIRECTORY) && refuse_tampering_with(dir) ? -EPERM : 0;
}

SEC("lsm/inode_mknod")
int BPF_PROG(aegis_inode_mknod, struct inode *dir)
{
	return in_own(dir, SELF_DIRECTORY) && refuse_tampering_with(dir) ? -EPERM : 0;
}

static __always_inline void mark_if_named(struct dentry *dentry, struct inode *inode, __u32 what)
{
	if (!inode || !may_be_named(dentry))
		return;

	struct subject subject = {};

	if (is_directory(inode))
		what |= NAMED_DIRECTORY;
	if (is_link(inode))
		what |= NAMED_LINK;
	take_inode(&subject, inode);
	take_name(&subject, dentry);
	met(&subject, what);
}

SEC("lsm/d_instantiate")
int BPF_PROG(aegis_d_instantiate, struct dentry *dentry, struct inode *inode)
{
	mark_if_named(dentry, inode, 0);
	return 0;
}

SEC("lsm/inode_link")
int BPF_PROG(aegis_inode_link, struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry)
{
	struct inode *inode = old_dentry->d_inode;

	if (in_own(dir, SELF_DIRECTORY) && refuse_tampering_with(dir))
		return -EPERM;
	mark_if_named(old_dentry, inode, 0);
	mark_if_named(new_dentry, inode, NAMED_MOVES);
	return 0;
}

SEC("lsm/inode_rename")
int BPF_PROG(aegis_inode_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
	     struct dentry *new_dentry)
{
	struct inode *inode = old_dentry->d_inode, *replaced = new_dentry->d_inode;

	if ((in_own(old_dir, SELF_DIRECTORY) || in_own(new_dir, SELF_DIRECTORY) || in_own(inode, SELF_DIRECTORY) ||
	     in_own(inode, SELF_PROGRAM) || in_own(replaced, SELF_PROGRAM)) &&
	    refuse_tampering_with(inode))
		return -EPERM;
	if (inode && is_link(inode) && !out_of_scope() && may_be_named(new_dentry)) {
		struct subject subject = {};
		struct matter matter = {};
		struct view view = {};
		struct rule rule = {};

		take_name(&subject, new_dentry);
		about(&matter, &subject, OP_CREATE);
		if (find_name(&view, &subject, &rule) && answer(&view, &rule, &matter))
			return -EPERM;
	}
	mark_if_named(old_dentry, inode, NAMED_MOVES);
	mark_if_named(new_dentry, inode, NAMED_MOVES);
	return 0;
}

SEC("lsm/inode_unlink")
int BPF_PROG(aegis_inode_unlink, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;

	if ((in_own(dir, SELF_DIRECTORY) || in_own(inode, SELF_PROGRAM)) &&
	    refuse_tampering_with(inode))
		return -EPERM;
	/* Somebody may hold another link to it, made before this policy. */
	mark_if_named(dentry, inode, NAMED_MOVES);
	return 0;
}

SEC("lsm/inode_rmdir")
int BPF_PROG(aegis_inode_rmdir, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;

	if ((in_own(dir, SELF_DIRECTORY) || in_own(inode, SELF_DIRECTORY)) &&
	    refuse_tampering_with(inode))
		return -EPERM;
	return 0;
}

static __always_inline void forget_entry(const struct view *view, __u64 inode, __u32 device, __u32 group)
{
	struct rule *entry = file_entry(view, inode, device, group);

	if (entry && !(entry->flags & (RULE_STATIC | RULE_ALWAYS)))
		__sync_fetch_and_or((__u32 *)&entry->section, RULE_GONE << 16);
}

/* When a file is gone for good its number is free for another, which no rule means. */
__noinline int forget(__u64 inode, __u32 device)
{
	struct view view = {};

	if (!look(&view) || !(view.flags & POLICY_NAMES))
		return 0;
	forget_entry(&view, inode, device, 0);
	forget_entry(&view, inode, device, GROUP_DIRECTORY);
	return 0;
}

SEC("lsm/inode_free_security")
int BPF_PROG(aegis_inode_free, struct inode *inode)
{
	if (!inode->i_nlink && may_be_marked(inode))
		forget(inode->i_ino, inode->i_sb->s_dev);
	return 0;
}

SEC("lsm/sb_umount")
int BPF_PROG(aegis_sb_umount, struct vfsmount *mnt)
{
	struct self_key key = {.kind = SELF_FILESYSTEM};

	key.device = mnt->mnt_sb->s_dev;
	if (!bpf_map_lookup_elem(&aegis_self, &key))
		return 0;
	return refuse_tampering(0, key.device) ? -EPERM : 0;
}

/* ---- programs ---------------------------------------------------------------------------------------- */

/* The name by which a program is run, and the name of its file; empty if it has more than 15 bytes. */
struct names {
	const void *path;
	char as_run[16];
	char as_is[16];
};

/* What follows the last slash of the path. */
__noinline int take_run_name(struct names *names)
{
	char whole[256] = {};
	const void *path;
	int length, start = -1;

	if (!names)
		return 0;
	path = names->path;
	/* A path of more than 255 bytes is looked at by its file's own name alone. */
	length = bpf_probe_read_kernel_str(whole, sizeof(whole), path);
	if (length < 2 || length >= (int)sizeof(whole))
		return 0;
	_Pragma("clang loop unroll(disable)")
	for (int i = 0; i < 16; i++) {
		int at = length - 2 - i;

		if (at < 0) {
			start = 0;
			break;
		}
		if (whole[at & 255] == '/') {
			start = at + 1;
			break;
		}
	}
	if (start < 0)
		return 0;
	/* What is behind the end is zero. */
	bpf_probe_read_kernel(names->as_run, 15, path + start);
	_Pragma("clang loop unroll(disable)")
	for (int i = 0; i < 15; i++)
		if (start + i >= length - 1)
			names->as_run[i & 15] = 0;
	return 0;
}

static __always_inline void take_names(struct names *names, struct file *file)
{
	__u32 length = file->f_path.dentry->d_name.len;

	take_run_name(names);
	if (length > 0 && length < 16)
		bpf_probe_read_kernel(names->as_is, bounded(length) & 15, file->f_path.dentry->d_name.name);
}

static __always_inline bool comm_rule(const struct view *view, const char name[16], struct rule *rule)
{
	__u32 slot = view->slot;
	void *inner = bpf_map_lookup_elem(&aegis_comms, &slot);
	struct rule *entry;
	char key[16]; /* kernels of 6.1 take no key from memory of the caller */

	__builtin_memcpy(key, name, sizeof(key));
	entry = inner && key[0] ? bpf_map_lookup_elem(inner, key) : NULL;
	if (!entry)
		return false;
	*rule = *entry;
	return true;
}

__noinline int decide_names(struct view *view, struct names *names, struct rule *rule)
{
	bool found = false;

	if (!view || !names || !rule)
		return 0;
	DECIDE(view, found,
	       (view->flags & POLICY_COMMS) &&
		       (comm_rule(view, names->as_run, rule) || comm_rule(view, names->as_is, rule)));
	return found;
}

SEC("lsm/bprm_creds_for_exec")
int BPF_PROG(aegis_exec_name, struct linux_binprm *bprm)
{
	struct file *file = bprm->file;

	if (!has(aegis_now, POLICY_COMMS) || out_of_scope())
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct names names = {};
	struct view view = {};
	struct rule rule = {};

	names.path = bprm->filename;
	take_names(&names, file);
	if (!decide_names(&view, &names, &rule))
		return 0;
	take_inode(&subject, file->f_inode);
	about(&matter, &subject, OP_EXEC);
	return ANSWER_FILE(&view, &rule, &matter, &file->f_path);
}

/* What runs a script is a program too: the hook above is called for the script alone. By itself, as what follows, since
 * there is no room on the stack for both. */
static __noinline int interpreter_by_name(struct linux_binprm *bprm)
{
	struct file *file = bprm->file;

	if (out_of_scope())
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct names names = {};
	struct view view = {};
	struct rule rule = {};

	names.path = bprm->interp;
	take_names(&names, file);
	if (!decide_names(&view, &names, &rule))
		return 0;
	take_inode(&subject, file->f_inode);
	about(&matter, &subject, OP_EXEC);
	return ANSWER_FILE(&view, &rule, &matter, &file->f_path);
}

/* Judges a hash. `mapped`: not the program itself, but code that a program maps. */
static __always_inline bool hash_rule(const struct view *view, const __u8 *hash, bool known, bool mapped,
				      struct rule *rule)
{
	__u32 flags = view->flags;
	struct rule *entry = known ? hash_entry(view, hash) : NULL;
	__u16 listed = entry ? entry->flags : 0;

	if (listed & RULE_DENIED) {
		*rule = *entry;
		return true;
	}
	if (mapped)
		return false;
	rule->flags = 0;
	rule->protocols = 0;
	/* Of what cannot be measured nobody can say that it is listed. */
	if ((flags & POLICY_ONLY_LISTED) && !(listed & RULE_LISTED)) {
		rule->line = header_line(view, 5);
		rule->section = SECTION_ALLOW_BINARY_HASH;
		return true;
	}
	if ((flags & POLICY_ONLY_TRUSTED) && !(listed & RULE_TRUSTED)) {
		if (known) {
			rule->line = header_line(view, 6);
			rule->section = SECTION_TRUSTED_EXEC_HASH;
			return true;
		}
		if (flags & POLICY_FAIL_CLOSED) {
			rule->line = header_line(view, 4);
			rule->section = SECTION_IMA_FAIL_CLOSED;
			return true;
		}
	}
	return false;
}

/* `matter` has the hash, if there is one. */
__noinline int decide_hash(struct view *view, struct matter *matter, struct rule *rule)
{
	bool found = false, mapped;

	if (!view || !matter || !rule)
		return 0;
	mapped = matter->operation == OP_MAP;
	DECIDE(view, found,
	       (view->flags & POLICY_HASHES) && hash_rule(view, matter->hash, matter->has_hash, mapped, rule));
	return found;
}

static __noinline int program_by_hash(struct linux_binprm *bprm)
{
	struct file *file = bprm->file;
	struct measured_key key = {};
	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	take_inode(&subject, file->f_inode);
	key.inode = subject.inode;
	key.device = subject.device;
	if (out_of_scope() || !look(&view) || !(view.flags & POLICY_HASHES)) {
		/* What it hashed to before it was run unmeasured is not what it hashes to. */
		if (aegis_measuring)
			bpf_map_delete_elem(&aegis_measured, &key);
		return 0;
	}
	about(&matter, &subject, OP_EXEC);
	/* First the hash, which may take as long as the file is large; the policy is looked at when it is there. */
	matter.has_hash = bpf_ima_file_hash(file, matter.hash, sizeof(matter.hash)) == HASH_ALGO_SHA256;
	if (matter.has_hash) {
		bpf_map_update_elem(&aegis_measured, &key, matter.hash, BPF_ANY);
		aegis_measuring = true;
	} else {
		COUNT(unmeasured);
		bpf_map_delete_elem(&aegis_measured, &key);
	}
	if (!decide_hash(&view, &matter, &rule))
		return 0;
	return ANSWER_FILE(&view, &rule, &matter, &file->f_path);
}

SEC("lsm.s/bprm_check_security")
int BPF_PROG(aegis_exec_hash, struct linux_binprm *bprm)
{
	if (has(aegis_now, POLICY_COMMS) && bprm->interp != bprm->filename && interpreter_by_name(bprm))
		return -EPERM;
	if (!aegis_measuring && !has(aegis_now, POLICY_HASHES))
		return 0;
	return program_by_hash(bprm);
}

/* Whether what was mapped is on no list: then the process is verified no longer. */
__noinline int taint_if_unlisted(struct matter *matter)
{
	struct view view = {};
	struct rule *entry;

	if (!matter || !look(&view) || !(view.flags & POLICY_RUNTIME_DEPS))
		return 0;
	entry = matter->has_hash ? hash_entry(&view, matter->hash) : NULL;
	if (entry && (entry->flags & (RULE_LISTED | RULE_TRUSTED)))
		return 0;
	set_taint(TAINT_MAPPED);
	return 0;
}

SEC("lsm.s/mmap_file")
int BPF_PROG(aegis_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot)
{
	__u64 now = aegis_now;
	bool code, ruled;

	if (!file)
		return 0;
	code = (prot & PROT_EXEC) && has(now, POLICY_DENY_HASHES | POLICY_RUNTIME_DEPS);
	ruled = has(now, POLICY_FILES) && may_be_ruled(now, file->f_inode, file->f_path.dentry);
	if ((!code && !ruled) || out_of_scope())
		return 0;

	struct subject subject = {};
	struct matter matter = {};
	struct view view = {};
	struct rule rule = {};

	take_inode(&subject, file->f_inode);
	take_name(&subject, file->f_path.dentry);
	about(&matter, &subject, OP_MAP);
	if (ruled && find_file(&view, &subject, &rule) && ANSWER_FILE(&view, &rule, &matter, &file->f_path))
		return -EPERM;
	if (!code || !look(&view) || !(view.flags & (POLICY_DENY_HASHES | POLICY_RUNTIME_DEPS)))
		return 0;
	matter.has_hash = bpf_ima_file_hash(file, matter.hash, sizeof(matter.hash)) == HASH_ALGO_SHA256;
	if (!matter.has_hash)
		COUNT(unmeasured);
	if (view.flags & POLICY_RUNTIME_DEPS)
		taint_if_unlisted(&matter);
	if (!decide_hash(&view, &matter, &rule))
		return 0;
	return ANSWER_FILE(&view, &rule, &matter, &file->f_path);
}

/* A child runs the same program with the same mappings. */
SEC("lsm/task_alloc")
int BPF_PROG(aegis_task_alloc, struct task_struct *task)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	__u64 exec_id = parent->self_exec_id + 1, *copy;
	__u32 taint = tainted();
	struct process_key key;

	if (!taint)
		return 0;
	copy = bpf_task_storage_get(&aegis_taint, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (copy) {
		*copy = taint_word(exec_id, taint);
		return 0;
	}
	key = task_address(task, exec_id);
	aegis_by_address = true;
	bpf_map_update_elem(&aegis_taints, &key, &taint, BPF_ANY);
	return 0;
}

/* Refuses nothing: a process that is restored from a checkpoint has to do this, and is not verified by it. */
SEC("lsm/task_prctl")
int BPF_PROG(aegis_task_prctl, int option, unsigned long which)
{
	if (option == PR_SET_MM && (which == PR_SET_MM_EXE_FILE || which == PR_SET_MM_MAP))
		set_taint(TAINT_DISGUISED);
	return 0;
}

SEC("lsm/task_free")
int BPF_PROG(aegis_task_free, struct task_struct *task)
{
	struct process_key key;

	if (!aegis_by_address)
		return 0;
	key = task_address(task, task->self_exec_id + 1);
	bpf_map_delete_elem(&aegis_taints, &key);
	return 0;
}

/* ---- the network --------------------------------------------------------------------------------------- */

static __always_inline __u16 family_of(struct socket *sock)
{
	struct sock *sk = sock->sk;

	return sk ? sk->__sk_common.skc_family : AF_UNSPEC;
}

static __always_inline __u8 protocol_of(struct socket *sock)
{
	struct sock *sk = sock->sk;
	__u16 protocol = sk ? sk->sk_protocol : 0;
	short type = sock->type;

	/* Also MPTCP, and SMC, which talks TCP to whoever does not know it. */
	if (type == SOCK_STREAM && protocol != IPPROTO_SCTP)
		return PROTO_TCP;
	if (type == SOCK_DGRAM && (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE))
		return PROTO_UDP;
	return PROTO_OTHER;
}

/* The address of IPv4 that a socket is bound to; 0: none in particular. */
static __always_inline __be32 own_address4(struct socket *sock)
{
	struct sock *sk = sock->sk;
	__u16 family;

	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	return BPF_CORE_READ((struct inet_sock *)sk, inet_saddr);
}

/* Reads the address of a system call. */
static __always_inline bool read_peer(struct socket *sock, const void *address, int length, __u32 operation,
				      struct peer *peer)
{
	bool bound = operation == OP_BIND;
	__u16 family = 0, of_socket;

	if (length < (int)sizeof(family) || bpf_probe_read_kernel(&family, sizeof(family), address))
		return false;
	if (family == AF_UNSPEC && operation != OP_CONNECT) {
		/* The kernel takes it for IPv4; where raw packets are sent, for the family of the socket. */
		of_socket = family_of(sock);
		if (of_socket == AF_INET || (of_socket == AF_INET6 && sock->type == SOCK_RAW))
			family = of_socket;
	}
	if (family == AF_INET) {
		struct address4 four = {};

		if (length < 8 || bpf_probe_read_kernel(&four, 8, address))
			return false;
		peer->port = __builtin_bswap16(four.port);
		set_address4(peer, four.address, own_address4(sock), bound);
	} else if (family == AF_INET6) {
		struct address6 six = {};
		__u64 high, low;

		if (length < 24 || bpf_probe_read_kernel(&six, 24, address))
			return false;
		__builtin_memcpy(&high, six.address, 8);
		__builtin_memcpy(&low, six.address + 8, 8);
		peer->port = __builtin_bswap16(six.port);
		if (!high && !low && !bound) {
			__u64 own[2] = {};

			if (bpf_core_field_exists(sock->sk->__sk_common.skc_v6_rcv_saddr))
				BPF_CORE_READ_INTO(&own, sock, sk, __sk_common.skc_v6_rcv_saddr);
			set_any6(peer, own[0], own[1]);
		} else {
			set_address6(peer, high, low, own_address4(sock), bound);
		}
	} else {
		return false;
	}
	peer->protocol = protocol_of(sock);
	/* What is in the place of the port is none. */
	if (sock->type == SOCK_RAW)
		peer->port = 0;
	return true;
}

/* Whether some rule may concern an address that is to be reached, as the system call has it. */
static __always_inline bool may_be_address(const void *address, const struct address4 *four, int length)
{
	__be32 host = four->address;
	__u64 half[2];

	if (four->family == AF_INET6 && length >= 24) {
		if (bpf_probe_read_kernel(half, sizeof(half), address + 8))
			return true;
		if (is_mapped(half[0], half[1]))
			host = half[1] >> 32;
		else if (half[0] || half[1])
			return may_be_reached(half[0], half[1], __builtin_bswap16(four->port));
		else
			host = 0;
	}
	/* Which host that is, and of which family, depends on the socket. */
	if (!host || four->family == AF_UNSPEC)
		return true;
	return may_be_reached(0, v4_low(host), __builtin_bswap16(four->port));
}

SEC("lsm/socket_connect")
int BPF_PROG(aegis_socket_connect, struct socket *sock, struct sockaddr *address, int length)
{
	if (length >= 8) {
		struct address4 four = {
			.family = address->sa_family,
			.port = *(const __u16 *)address->sa_data,
			.address = *(const __u32 *)(address->sa_data + 2),
		};

		if (!may_be_address(address, &four, length))
			return 0;
	}

	struct matter matter = {.operation = OP_CONNECT};
	struct view view = {};
	struct rule rule = {};

	if (out_of_scope() || !read_peer(sock, address, length, OP_CONNECT, &matter.peer))
		return 0;
	if (!decide_connect(&view, &matter.peer, &rule))
		return 0;
	return answer(&view, &rule, &matter);
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(aegis_socket_sendmsg, struct socket *sock, struct msghdr *message)
{
	void *address = message->msg_name;
	struct address4 four;

	if (!address)
		return 0;
	if (message->msg_namelen >= 8 && !bpf_probe_read_kernel(&four, sizeof(four), address) &&
	    !may_be_address(address, &four, message->msg_namelen))
		return 0;

	struct matter matter = {.operation = OP_SEND};
	struct view view = {};
	struct rule rule = {};

	if (out_of_scope() || !read_peer(sock, address, message->msg_namelen, OP_SEND, &matter.peer))
		return 0;
	if (!decide_connect(&view, &matter.peer, &rule))
		return 0;
	return answer(&view, &rule, &matter);
}

SEC("lsm/socket_bind")
int BPF_PROG(aegis_socket_bind, struct socket *sock, struct sockaddr *address, int length)
{
	if (length >= 8 && !may_be_bound(__builtin_bswap16(*(const __u16 *)address->sa_data)))
		return 0;

	struct matter matter = {.operation = OP_BIND};
	struct view view = {};
	struct rule rule = {};

	if (out_of_scope() || !read_peer(sock, address, length, OP_BIND, &matter.peer))
		return 0;
	if (!decide_bind(&view, &matter.peer, &rule))
		return 0;
	return answer(&view, &rule, &matter);
}

/* Addresses of SCTP, many of them one behind the other, that go by none of the hooks above. */
#define SCTP_ADDRESSES 64

struct addresses {
	const void *next;
	__u32 left; /* bytes */
	__u32 operation;
};

/* By itself, so that the verifier looks at it once. Tells how long the address is; 0: it is none; negative: it is denied. */
__noinline int judge_sctp(struct addresses *all)
{
	struct matter matter = {.peer = {.protocol = PROTO_OTHER}};
	struct view view = {};
	struct rule rule = {};
	struct address6 six = {};
	const void *address;
	__u64 half[2];
	bool bound, found;
	int length;
	__u32 left;

	if (!all)
		return 0;
	address = all->next;
	left = all->left;
	matter.operation = all->operation;
	bound = matter.operation == OP_BIND;
	if (left < 16 || bpf_probe_read_kernel(&six, 8, address))
		return 0;
	matter.peer.port = __builtin_bswap16(six.port);
	if (six.family == AF_INET) {
		length = 16;
		set_address4(&matter.peer, six.flow, 0, bound);
	} else if (six.family == AF_INET6 && left >= 28) {
		length = 28;
		if (bpf_probe_read_kernel(half, sizeof(half), address + 8))
			return 0;
		if (!half[0] && !half[1] && !bound)
			set_any6(&matter.peer, 0, 0);
		else
			set_address6(&matter.peer, half[0], half[1], 0, bound);
	} else {
		return 0;
	}
	found = bound ? decide_bind(&view, &matter.peer, &rule) : decide_connect(&view, &matter.peer, &rule);
	return found && answer(&view, &rule, &matter) ? -EPERM : length;
}

SEC("lsm/sctp_bind_connect")
int BPF_PROG(aegis_sctp, struct sock *sk, int option, struct sockaddr *addresses, int length)
{
	struct addresses all = {.next = addresses, .left = length};

	all.operation = option == SCTP_SOCKOPT_BINDX_ADD ? OP_BIND : OP_CONNECT;
	if (option != SCTP_SOCKOPT_BINDX_ADD && option != SCTP_SOCKOPT_CONNECTX && option != SCTP_SENDMSG_CONNECT)
		return 0;
	/* The canary's address alone needs no look: it is for who connects by other means. */
	if (length <= 0 || !has(aegis_now, POLICY_ADDRESSES | POLICY_PORTS | POLICY_CIDR | POLICY_PROTECT_CONNECT) ||
	    out_of_scope())
		return 0;
	_Pragma("clang loop unroll(disable)")
	for (int i = 0; i < SCTP_ADDRESSES; i++) {
		int taken = judge_sctp(&all);

		if (taken <= 0)
			return taken ? -EPERM : 0;
		if ((__u32)taken >= all.left)
			return 0;
		all.next += taken & 31;
		all.left -= taken & 31;
	}
	/* Nobody has so many. */
	return -EPERM;
}

/* A port that the kernel chose was never bound to by hand. */
SEC("lsm/socket_listen")
int BPF_PROG(aegis_socket_listen, struct socket *sock)
{
	__u16 family = family_of(sock), port;
	struct sock *sk = sock->sk;

	if (!sk || (family != AF_INET && family != AF_INET6))
		return 0;
	port = sk->__sk_common.skc_num;
	if (!may_be_bound(port) || out_of_scope())
		return 0;

	struct matter matter = {.operation = OP_LISTEN};
	struct view view = {};
	struct rule rule = {};

	matter.peer.port = port;
	matter.peer.protocol = protocol_of(sock);
	if (!decide_bind(&view, &matter.peer, &rule))
		return 0;
	return answer(&view, &rule, &matter);
}

/* ---- flags ---------------------------------------------------------------------------------------------- */

static __always_inline bool flag_rule(const struct view *view, __u32 flag, __u32 line, __u8 section, struct rule *rule)
{
	if (!(view->flags & flag))
		return false;
	rule->line = header_line(view, line);
	rule->section = section;
	return true;
}

static __always_inline int answer_flag(__u32 flag, __u32 line, __u8 section, __u32 operation, __u32 target)
{
	if (!has(aegis_now, flag) || out_of_scope())
		return 0;

	struct matter matter = {.operation = operation, .target = target};
	struct view view = {};
	struct rule rule = {};
	bool found = false;

	DECIDE(&view, found, flag_rule(&view, flag, line, section, &rule));
	/* The agent puts the next policy in force whatever this one says. */
	if (!found || (operation == OP_BPF && is_self()))
		return 0;
	return answer(&view, &rule, &matter);
}

/* Reading what /proc shows of another process is no tracing. */
SEC("lsm/ptrace_access_check")
int BPF_PROG(aegis_ptrace_access, struct task_struct *child, unsigned int mode)
{
	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	if (runs_own(BPF_CORE_READ(child, mm, exe_file, f_inode)) && refuse_tampering(0, 0))
		return -EPERM;
	return answer_flag(POLICY_DENY_PTRACE, 1, SECTION_DENY_PTRACE, OP_PTRACE, child->tgid);
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(aegis_ptrace_traceme, struct task_struct *parent)
{
	return answer_flag(POLICY_DENY_PTRACE, 1, SECTION_DENY_PTRACE, OP_PTRACE, parent->tgid);
}

SEC("lsm/kernel_read_file")
int BPF_PROG(aegis_read_module, struct file *file, enum kernel_read_file_id id)
{
	/* The kernel unpacks a module itself where it can, and calls that by another name since it verifies both. */
	if (id != bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE) &&
	    !(bpf_core_enum_value_exists(enum kernel_read_file_id, READING_MODULE_COMPRESSED) &&
	      id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE_COMPRESSED)))
		return 0;
	return answer_flag(POLICY_DENY_MODULE, 2, SECTION_DENY_MODULE_LOAD, OP_MODULE, 0);
}

SEC("lsm/kernel_load_data")
int BPF_PROG(aegis_load_module, enum kernel_load_data_id id)
{
	if (id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE))
		return 0;
	return answer_flag(POLICY_DENY_MODULE, 2, SECTION_DENY_MODULE_LOAD, OP_MODULE, 0);
}

SEC("lsm/bpf")
int BPF_PROG(aegis_bpf, int command)
{
	if (command != BPF_PROG_LOAD && command != BPF_PROG_ATTACH && command != BPF_RAW_TRACEPOINT_OPEN &&
	    command != BPF_LINK_CREATE && command != BPF_LINK_UPDATE)
		return 0;
	return answer_flag(POLICY_DENY_BPF, 3, SECTION_DENY_BPF, OP_BPF, command);
}

static __always_inline bool is_ours(const char *name)
{
	return name[0] == 'a' && name[1] == 'e' && name[2] == 'g' && name[3] == 'i' && name[4] == 's' && name[5] == '_';
}

/* Whoever could write to the agent's maps could empty them. */
SEC("lsm/bpf_map")
int BPF_PROG(aegis_bpf_map, struct bpf_map *map, unsigned int mode)
{
	char name[16] = {};

	if (!(mode & FMODE_WRITE) || bpf_core_read(name, sizeof(name), &map->name))
		return 0;
	/* `aegis_*`, or `.data.aegis_now` and its like. */
	if (!is_ours(name) && !(name[0] == '.' && is_ours(name + 6)))
		return 0;
	return refuse_tampering(0, 0) ? -EPERM : 0;
}

#endif
