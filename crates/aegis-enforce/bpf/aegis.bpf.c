// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
/* The programs that hold a policy in the kernel. What helpers such as bpf_d_path demand is a licence that the kernel knows. */
#include "lsm.h"
#include "group.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
