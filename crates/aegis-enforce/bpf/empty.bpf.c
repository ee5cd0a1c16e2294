// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
/* A program that does nothing on each hook of lsm.h: what a hook costs before anything is asked, for the benchmark. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define EMPTY(hook, name)               \
	SEC(hook) int empty_##name(void *context) \
	{                               \
		return 0;               \
	}

EMPTY("lsm/file_open", file_open)
EMPTY("lsm/file_receive", file_receive)
EMPTY("lsm/path_truncate", path_truncate)
EMPTY("lsm/inode_create", inode_create)
EMPTY("lsm/inode_symlink", inode_symlink)
EMPTY("lsm/d_instantiate", d_instantiate)
EMPTY("lsm/inode_mkdir", inode_mkdir)
EMPTY("lsm/inode_mknod", inode_mknod)
EMPTY("lsm/inode_link", inode_link)
EMPTY("lsm/inode_rename", inode_rename)
EMPTY("lsm/inode_unlink", inode_unlink)
EMPTY("lsm/inode_rmdir", inode_rmdir)
EMPTY("lsm/inode_free_security", inode_free_security)
EMPTY("lsm/sb_umount", sb_umount)
EMPTY("lsm/bprm_creds_for_exec", bprm_creds_for_exec)
EMPTY("lsm.s/bprm_check_security", bprm_check_security)
EMPTY("lsm.s/mmap_file", mmap_file)
EMPTY("lsm/task_alloc", task_alloc)
EMPTY("lsm/task_free", task_free)
EMPTY("lsm/task_prctl", task_prctl)
EMPTY("lsm/socket_connect", socket_connect)
EMPTY("lsm/socket_sendmsg", socket_sendmsg)
EMPTY("lsm/socket_bind", socket_bind)
EMPTY("lsm/socket_listen", socket_listen)
EMPTY("lsm/sctp_bind_connect", sctp_bind_connect)
EMPTY("lsm/ptrace_access_check", ptrace_access_check)
EMPTY("lsm/ptrace_traceme", ptrace_traceme)
EMPTY("lsm/kernel_read_file", kernel_read_file)
EMPTY("lsm/kernel_load_data", kernel_load_data)
EMPTY("lsm/bpf", bpf)
EMPTY("lsm/bpf_map", bpf_map)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
