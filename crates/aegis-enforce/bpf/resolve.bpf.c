// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
/* The files that the asking process has open, as the kernel's own structures have them. On some file systems stat(2) tells
 * another device or inode than those that a hook sees (overlay, btrfs). */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

struct opened {
	__u64 inode;
	__u32 device;
	__u32 fd;
};

SEC("iter/task_file")
int aegis_opened(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct opened opened = {};
	struct inode *inode;

	if (!task || !file || (__u32)task->tgid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	inode = file->f_inode;
	opened.inode = inode->i_ino;
	opened.device = inode->i_sb->s_dev;
	opened.fd = ctx->fd;
	bpf_seq_write(ctx->meta->seq, &opened, sizeof(opened));
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
