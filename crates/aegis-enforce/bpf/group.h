/* Network rules where there is no BPF-LSM: programs of a control group. The root group stands for the host. */
#ifndef AEGIS_GROUP_H
#define AEGIS_GROUP_H

#include "decide.h"

static __always_inline __u8 context_protocol(const struct bpf_sock_addr *ctx)
{
	__u32 protocol = ctx->protocol, type = ctx->type;

	if (type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
		return PROTO_TCP;
	if (type == SOCK_DGRAM && (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE))
		return PROTO_UDP;
	return PROTO_OTHER;
}

static __always_inline void context_peer(const struct bpf_sock_addr *ctx, bool six, bool bound, struct peer *peer)
{
	struct bpf_sock *sock = ctx->sk;

	peer->port = __builtin_bswap16((__u16)ctx->user_port);
	peer->protocol = context_protocol(ctx);
	if (six) {
		__u64 high = ctx->user_ip6[0] | ((__u64)ctx->user_ip6[1] << 32);
		__u64 low = ctx->user_ip6[2] | ((__u64)ctx->user_ip6[3] << 32);

		if (!high && !low && !bound) {
			if (sock)
				set_any6(peer, sock->src_ip6[0] | ((__u64)sock->src_ip6[1] << 32),
					 sock->src_ip6[2] | ((__u64)sock->src_ip6[3] << 32));
		} else {
			set_address6(peer, high, low, sock ? sock->src_ip4 : 0, bound);
		}
	} else {
		set_address4(peer, ctx->user_ip4, sock ? sock->src_ip4 : 0, bound);
	}
}

/* 1 lets the call go on, 0 fails it with EPERM. No program was measured here, so none is verified. */
static __always_inline int group_answer(struct view *view, struct rule *rule, struct matter *matter)
{
	if (!stands(view, rule, false))
		return 1;
	matter->denied = enforced(view, rule);
	if (!(rule->flags & RULE_ALWAYS))
		emit(view, rule, matter);
	return matter->denied == 0;
}

static __always_inline int group_connect(const struct bpf_sock_addr *ctx, bool six, __u32 operation)
{
	struct matter matter = {.operation = operation};
	struct view view = {};
	struct rule rule = {};

	context_peer(ctx, six, false, &matter.peer);
	return decide_connect(&view, &matter.peer, &rule) ? group_answer(&view, &rule, &matter) : 1;
}

static __always_inline int group_bind(const struct bpf_sock_addr *ctx, bool six)
{
	struct matter matter = {.operation = OP_BIND};
	struct view view = {};
	struct rule rule = {};

	context_peer(ctx, six, true, &matter.peer);
	return decide_bind(&view, &matter.peer, &rule) ? group_answer(&view, &rule, &matter) : 1;
}

SEC("cgroup/connect4")
int aegis_connect4(struct bpf_sock_addr *ctx)
{
	return group_connect(ctx, false, OP_CONNECT);
}

SEC("cgroup/connect6")
int aegis_connect6(struct bpf_sock_addr *ctx)
{
	return group_connect(ctx, true, OP_CONNECT);
}

SEC("cgroup/sendmsg4")
int aegis_sendmsg4(struct bpf_sock_addr *ctx)
{
	return group_connect(ctx, false, OP_SEND);
}

SEC("cgroup/sendmsg6")
int aegis_sendmsg6(struct bpf_sock_addr *ctx)
{
	return group_connect(ctx, true, OP_SEND);
}

SEC("cgroup/bind4")
int aegis_bind4(struct bpf_sock_addr *ctx)
{
	return group_bind(ctx, false);
}

SEC("cgroup/bind6")
int aegis_bind6(struct bpf_sock_addr *ctx)
{
	return group_bind(ctx, true);
}

#endif
