/* Does one thing to the kernel and tells how it ended: 0, or the error number as the exit status. Who asks must be
 * another program than the agent, and some of these calls have no safe form in Rust.
 *
 * `probe serve` reads such things from its input, a line each, and prints the number: for what one process does before
 * and after a policy. `probe in GROUP …` does it in a control group. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BAD_ADDRESS 200
#define KILLED 201
#define UNKNOWN 202

/* What `keep` opened and `reach` connected. */
static int kept = -1;

static int status_of(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED;
}

static int call(int result)
{
	return result < 0 ? errno : 0;
}

static int closed(int fd)
{
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* ---- files ------------------------------------------------------------------------------------------ */

static int do_open(char **a) { return closed(open(a[0], O_RDONLY | O_CLOEXEC)); }
static int do_write(char **a) { return closed(open(a[0], O_WRONLY | O_CLOEXEC)); }
static int do_create(char **a) { return closed(open(a[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)); }
static int do_truncate(char **a) { return call(truncate(a[0], 0)); }
static int do_rename(char **a) { return call(rename(a[0], a[1])); }
static int do_exchange(char **a) { return call(renameat2(AT_FDCWD, a[0], AT_FDCWD, a[1], RENAME_EXCHANGE)); }
static int do_link(char **a) { return call(link(a[0], a[1])); }
static int do_symlink(char **a) { return call(symlink(a[0], a[1])); }
static int do_unlink(char **a) { return call(unlink(a[0])); }
static int do_mkdir(char **a) { return call(mkdir(a[0], 0755)); }
static int do_rmdir(char **a) { return call(rmdir(a[0])); }
static int do_stat(char **a) { struct stat s; return call(stat(a[0], &s)); }
static int do_mknod(char **a) { return call(mknod(a[0], S_IFREG | 0644, 0)); }

static int do_openat2(char **a)
{
	static const int ways[] = {0, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};
	int error = 0;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = ways[i]};

		error = closed(syscall(SYS_openat2, AT_FDCWD, a[0], &how, sizeof(how)));
		if (error != EPERM)
			break;
	}
	return error;
}

static int reopened(int fd)
{
	char path[64];

	if (fd < 0)
		return errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return closed(open(path, O_RDONLY | O_CLOEXEC));
}

static int do_opath(char **a) { return reopened(open(a[0], O_PATH | O_CLOEXEC)); }

static int do_handle(char **a)
{
	char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	struct file_handle *handle = (void *)space;
	int mount, id;

	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, a[0], handle, &id, 0))
		return errno;
	mount = open(a[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return mount < 0 ? errno : closed(open_by_handle_at(mount, handle, O_RDONLY | O_CLOEXEC));
}

/* A file without a name gets one. */
static int do_tmpfile(char **a)
{
	int fd = open(a[0], O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	char path[64];

	if (fd < 0)
		return errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return call(linkat(AT_FDCWD, path, AT_FDCWD, a[1], AT_SYMLINK_FOLLOW));
}

static int do_keep(char **a)
{
	kept = open(a[0], O_RDONLY | O_CLOEXEC);
	return kept < 0 ? errno : 0;
}

static int do_read(char **a)
{
	char byte;

	(void)a;
	return pread(kept, &byte, 1, 0) == 1 ? 0 : errno;
}

static int do_reopen(char **a) { (void)a; return reopened(kept); }

static int mapped(int fd, int protection)
{
	void *at = mmap(NULL, 4096, protection, MAP_PRIVATE, fd, 0);

	return at == MAP_FAILED ? errno : 0;
}

static int do_map(char **a) { (void)a; return mapped(kept, PROT_READ); }
static int do_map_code(char **a) { (void)a; return mapped(kept, PROT_READ | PROT_EXEC); }

/* Opens and maps as code, as a loader does. */
static int do_load(char **a)
{
	int fd = open(a[0], O_RDONLY | O_CLOEXEC), error;

	if (fd < 0)
		return errno;
	error = mapped(fd, PROT_READ | PROT_EXEC);
	close(fd);
	return error;
}

/* Sends what is kept through a socket and takes it out at the other end. */
static int do_pass(char **a)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int pair[2];

	(void)a;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return errno;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &kept, sizeof(int));
	if (sendmsg(pair[0], &message, 0) < 0)
		return errno;
	memset(control, 0, sizeof(control));
	message.msg_controllen = sizeof(control);
	if (recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) < 0)
		return errno;
	/* The message comes, what it carried does not: the call itself does not fail. */
	header = CMSG_FIRSTHDR(&message);
	return header && header->cmsg_len == CMSG_LEN(sizeof(int)) ? 0 : EPERM;
}

/* A child opened it; its descriptor is taken. */
static int do_steal(char **a)
{
	int child = fork(), process, fd, error;

	(void)a;
	if (!child) {
		pause();
		_exit(0);
	}
	process = syscall(SYS_pidfd_open, child, 0);
	fd = syscall(SYS_pidfd_getfd, process, kept, 0);
	error = closed(fd);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(process);
	return error;
}

static int do_bind_mount(char **a) { return call(mount(a[0], a[1], NULL, MS_BIND, NULL)); }
static int do_unmount(char **a) { return call(umount2(a[0], MNT_DETACH)); }

/* Binds the first to the second where nobody else sees it, and opens that. */
static int do_namespace(char **a)
{
	pid_t child = fork();

	if (!child) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount(a[0], a[1], NULL, MS_BIND, NULL))
			_exit(KILLED);
		_exit(do_open(a + 1));
	}
	return status_of(child);
}

static int do_chroot(char **a)
{
	pid_t child = fork();

	if (!child) {
		if (chroot(a[0]) || chdir("/"))
			_exit(KILLED);
		_exit(do_open(a + 1));
	}
	return status_of(child);
}

/* ---- io_uring --------------------------------------------------------------------------------------- */

static int through_ring(const struct io_uring_sqe *what)
{
	struct io_uring_params params = {};
	int ring = syscall(SYS_io_uring_setup, 2, &params);
	struct io_uring_cqe *answers;
	struct io_uring_sqe *asked;
	char *submit, *complete;

	if (ring < 0)
		return errno;
	submit = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		      IORING_OFF_SQ_RING);
	complete = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*answers), PROT_READ | PROT_WRITE,
			MAP_SHARED, ring, IORING_OFF_CQ_RING);
	asked = mmap(NULL, params.sq_entries * sizeof(*asked), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		     IORING_OFF_SQES);
	if (submit == MAP_FAILED || complete == MAP_FAILED || asked == MAP_FAILED)
		return errno;
	asked[0] = *what;
	*(uint32_t *)(submit + params.sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(submit + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return errno;
	answers = (void *)(complete + params.cq_off.cqes);
	close(ring);
	return answers[0].res < 0 ? -answers[0].res : 0;
}

/* The flag has a thread of the kernel do it. */
static int ring_open(char **a, int flags)
{
	struct io_uring_sqe what = {.opcode = IORING_OP_OPENAT, .flags = flags, .fd = AT_FDCWD};

	what.addr = (uintptr_t)a[0];
	what.open_flags = O_RDONLY | O_CLOEXEC;
	return through_ring(&what);
}

static int do_ring_open(char **a) { return ring_open(a, 0); }
static int do_ring_thread_open(char **a) { return ring_open(a, IOSQE_ASYNC); }

/* ---- the network ------------------------------------------------------------------------------------ */

static socklen_t address(char **a, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (void *)out;
	struct sockaddr_in6 *six = (void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, a[0], &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(a[1]));
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, a[0], &six->sin6_addr) != 1)
		exit(BAD_ADDRESS);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(atoi(a[1]));
	return sizeof(*six);
}

/* A connection that nobody answers is as good as one, and not waited for. */
static int connect_by(int type, char **a)
{
	struct sockaddr_storage to;
	socklen_t length = address(a, &to);
	int fd = socket(to.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

	if (fd < 0)
		return errno;
	error = connect(fd, (void *)&to, length) && errno != EINPROGRESS ? errno : 0;
	close(fd);
	return error;
}

static int do_tcp(char **a) { return connect_by(SOCK_STREAM, a); }
static int do_udp(char **a) { return connect_by(SOCK_DGRAM, a); }

static int do_ring_connect(char **a)
{
	struct io_uring_sqe what = {.opcode = IORING_OP_CONNECT};
	struct sockaddr_storage to;

	what.off = address(a, &to);
	what.addr = (uintptr_t)&to;
	what.fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return through_ring(&what);
}

/* Connects and stays so. */
static int do_reach(char **a)
{
	struct sockaddr_storage to;
	socklen_t length = address(a, &to);

	kept = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return call(connect(kept, (void *)&to, length));
}

static int do_send(char **a) { (void)a; return call(send(kept, "x", 1, MSG_NOSIGNAL)); }

static int send_by(int family, int type, char **a, int claimed, int flags)
{
	struct sockaddr_storage to;
	socklen_t length = address(a, &to);
	int fd = socket(family ? family : to.ss_family, type | SOCK_CLOEXEC, type == SOCK_RAW ? IPPROTO_UDP : 0), error;

	if (fd < 0)
		return errno;
	if (claimed >= 0)
		to.ss_family = claimed;
	error = call(sendto(fd, "xxxxxxxx", 8, flags | MSG_NOSIGNAL, (void *)&to, length));
	close(fd);
	return error;
}

static int do_sendto(char **a) { return send_by(0, SOCK_DGRAM, a, -1, 0); }
static int do_sendto_unspecified(char **a) { return send_by(0, SOCK_DGRAM, a, AF_UNSPEC, 0); }
/* An IPv4 address given to a socket of IPv6. */
static int do_sendto_four_by_six(char **a) { return send_by(AF_INET6, SOCK_DGRAM, a, -1, 0); }
static int do_raw(char **a) { return send_by(0, SOCK_RAW, a, -1, 0); }
/* A raw socket of IPv6 takes it for an address of its own family. */
static int do_raw_unspecified(char **a) { return send_by(0, SOCK_RAW, a, AF_UNSPEC, 0); }
static int do_fast_open(char **a) { return send_by(0, SOCK_STREAM, a, -1, MSG_FASTOPEN); }

static int do_sendmsg(char **a)
{
	struct sockaddr_storage to;
	struct iovec data = {.iov_base = "x", .iov_len = 1};
	struct msghdr message = {.msg_name = &to, .msg_iov = &data, .msg_iovlen = 1};
	int fd;

	message.msg_namelen = address(a, &to);
	fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return call(sendmsg(fd, &message, 0));
}

/* The first message goes where it may, the second to what is asked about. */
static int do_sendmmsg(char **a)
{
	struct sockaddr_storage to[2];
	struct iovec data = {.iov_base = "x", .iov_len = 1};
	struct mmsghdr messages[2] = {};
	char *harmless[] = {"127.0.0.99", "9"};
	int fd, sent;

	for (int i = 0; i < 2; i++) {
		messages[i].msg_hdr.msg_iov = &data;
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_name = &to[i];
		messages[i].msg_hdr.msg_namelen = address(i ? a : harmless, &to[i]);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sent = sendmmsg(fd, messages, 2, 0);
	if (sent < 0)
		return errno;
	/* What stopped it after the first message is told by the next call alone. */
	return sent == 2 ? 0 : call(sendmmsg(fd, messages + 1, 1, 0));
}

/* The header of the packet goes to the first address, the call to the second. */
static int do_raw_header(char **a)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} packet = {.ip = {.version = 4, .ihl = 5, .ttl = 4, .protocol = IPPROTO_UDP}};
	struct sockaddr_storage to;
	socklen_t length = address(a + 1, &to);
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	packet.ip.tot_len = htons(sizeof(packet));
	inet_pton(AF_INET, a[0], &packet.ip.daddr);
	packet.udp.dest = htons(9);
	packet.udp.len = htons(sizeof(packet.udp));
	return call(sendto(fd, &packet, sizeof(packet), 0, (void *)&to, length));
}

/* A packet for an address, sent as a frame. */
static int do_packet(char **a)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 4, .protocol = IPPROTO_UDP, .tot_len = htons(sizeof(ip))};
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1, .sll_halen = 6};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));

	inet_pton(AF_INET, a[0], &ip.daddr);
	return call(sendto(fd, &ip, sizeof(ip), 0, (void *)&to, sizeof(to)));
}

/* An unspecified address of IPv6, from a socket that is bound to one of IPv4, reaches 127.0.0.1. */
static int do_any_six_by_four(char **a)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6}, to = {.sin6_family = AF_INET6};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET6, "::ffff:127.0.0.1", &at.sin6_addr);
	to.sin6_port = htons(atoi(a[0]));
	if (bind(fd, (void *)&at, sizeof(at)))
		return KILLED;
	return call(connect(fd, (void *)&to, sizeof(to)));
}

/* 0.0.0.0 is the address that the socket is bound to. */
static int do_any_of_bound(char **a)
{
	struct sockaddr_storage at;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	char *any[] = {a[0], "0"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (void *)&at, address(any, &at)))
		return KILLED;
	return call(connect(fd, (void *)&to, sizeof(to)));
}

/* Hands addresses to SCTP, an innocent one first. */
static int sctp_by(int option, char **a)
{
	char addresses[2 * sizeof(struct sockaddr_in6)], *harmless[] = {"127.0.0.99", a[1]};
	struct sockaddr_storage one;
	socklen_t first = address(harmless, &one), second;
	struct timeval soon = {.tv_usec = 1};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_SCTP), error;

	if (fd < 0)
		return errno;
	memcpy(addresses, &one, first);
	second = address(a, &one);
	memcpy(addresses + first, &one, second);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
	error = setsockopt(fd, IPPROTO_SCTP, option, addresses, first + second) < 0 && errno != EINPROGRESS ? errno : 0;
	close(fd);
	return error;
}

static int do_sctp_connect(char **a) { return sctp_by(110, a); } /* SCTP_SOCKOPT_CONNECTX */
static int do_sctp_bind(char **a) { return sctp_by(100, a); }    /* SCTP_SOCKOPT_BINDX_ADD */

/* SMC talks TCP to who does not know it. */
static int do_smc(char **a)
{
	struct sockaddr_storage to;
	socklen_t length = address(a, &to);
	int fd = socket(AF_SMC, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : call(connect(fd, (void *)&to, length));
}

static int bind_by(int type, char **a, int claimed, int listening)
{
	struct sockaddr_storage at;
	socklen_t length = address(a, &at);
	int fd = socket(at.ss_family, type | SOCK_CLOEXEC, 0), one = 1, error;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (claimed >= 0)
		at.ss_family = claimed;
	error = call(bind(fd, (void *)&at, length));
	if (!error && listening)
		error = call(listen(fd, 1));
	close(fd);
	return error;
}

static int do_bind_tcp(char **a) { return bind_by(SOCK_STREAM, a, -1, 0); }
static int do_bind_udp(char **a) { return bind_by(SOCK_DGRAM, a, -1, 0); }
static int do_bind_unspecified(char **a) { return bind_by(SOCK_STREAM, a, AF_UNSPEC, 0); }
static int do_listen_tcp(char **a) { return bind_by(SOCK_STREAM, a, -1, 1); }

/* Listens without having bound: the kernel picks the port at that moment. */
static int do_listen_unbound(char **a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	(void)a;
	error = call(listen(fd, 1));
	close(fd);
	return error;
}

/* ---- programs ----------------------------------------------------------------------------------------- */

extern char **environ;

static int do_exec(char **a)
{
	pid_t child = fork();

	if (!child) {
		execv(a[0], a);
		_exit(errno);
	}
	return status_of(child);
}

/* Runs in this process what follows the name. */
static int do_become(char **a)
{
	execv(a[0], a);
	return errno;
}

/* Copies a program to memory and runs it from there, under a name of its own. */
static int do_memfd(char **a)
{
	int from = open(a[0], O_RDONLY | O_CLOEXEC), fd = memfd_create("innocent", 0);
	char block[65536], *args[] = {"innocent", "nothing", NULL};
	ssize_t count;
	pid_t child;

	if (from < 0 || fd < 0)
		return errno;
	while ((count = read(from, block, sizeof(block))) > 0)
		if (write(fd, block, count) != count)
			return KILLED;
	close(from);
	child = fork();
	if (!child) {
		syscall(SYS_execveat, fd, "", args, environ, AT_EMPTY_PATH);
		_exit(errno);
	}
	close(fd);
	return status_of(child);
}

static int do_execveat(char **a)
{
	int fd = open(a[0], O_PATH | O_CLOEXEC);
	char *args[] = {"probe", "nothing", NULL};
	pid_t child;

	if (fd < 0)
		return errno;
	child = fork();
	if (!child) {
		syscall(SYS_execveat, fd, "", args, environ, AT_EMPTY_PATH);
		_exit(errno);
	}
	return status_of(child);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

static int with_child(int (*what)(pid_t))
{
	pid_t child = fork();
	int error;

	if (!child) {
		pause();
		_exit(0);
	}
	error = what(child);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return error;
}

static int seize(pid_t child) { return call(ptrace(PTRACE_SEIZE, child, 0, 0)); }
static int attach(pid_t child) { return call(ptrace(PTRACE_ATTACH, child, 0, 0)); }

static int read_memory(pid_t child)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)environ, 1};

	return call(process_vm_readv(child, &here, 1, &there, 1, 0));
}

static int open_memory(pid_t child)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	return closed(open(path, O_RDWR | O_CLOEXEC));
}

static int read_status(pid_t child)
{
	char path[64], text[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	return read(fd, text, sizeof(text)) > 0 ? closed(fd) : errno;
}

static int do_seize(char **a) { (void)a; return with_child(seize); }
static int do_attach(char **a) { (void)a; return with_child(attach); }
static int do_read_memory(char **a) { (void)a; return with_child(read_memory); }
static int do_open_memory(char **a) { (void)a; return with_child(open_memory); }
static int do_read_status(char **a) { (void)a; return with_child(read_status); }
static int do_attach_to(char **a) { return call(ptrace(PTRACE_SEIZE, atoi(a[0]), 0, 0)); }

static int do_traceme(char **a)
{
	pid_t child = fork();

	(void)a;
	if (!child)
		_exit(call(ptrace(PTRACE_TRACEME, 0, 0, 0)));
	return status_of(child);
}

static char garbage[8192];

static int do_init_module(char **a)
{
	(void)a;
	return call(syscall(SYS_init_module, garbage, sizeof(garbage), ""));
}

static int do_finit_module(char **a)
{
	int fd = memfd_create("module", MFD_CLOEXEC), error;

	(void)a;
	if (write(fd, garbage, sizeof(garbage)) != sizeof(garbage))
		return KILLED;
	error = call(syscall(SYS_finit_module, fd, "", 0));
	close(fd);
	return error;
}

/* What the kernel is to unpack itself. */
static int do_packed_module(char **a)
{
	int fd = memfd_create("module", MFD_CLOEXEC), error;

	(void)a;
	if (write(fd, garbage, sizeof(garbage)) != sizeof(garbage))
		return KILLED;
	error = call(syscall(SYS_finit_module, fd, "", 4)); /* MODULE_INIT_COMPRESSED_FILE */
	close(fd);
	return error;
}

/* Has the kernel take this process for one that runs another program: what is mapped of its own is made to be no file's
 * any more, then it names the other. */
static int do_disguise(char **a)
{
	static struct {
		char *at;
		size_t length;
		int protection;
	} parts[16];
	char line[512], own[256] = {}, right[5], path[256];
	FILE *maps = fopen("/proc/self/maps", "re");
	int count = 0, fd = open(a[0], O_RDONLY | O_CLOEXEC);
	unsigned long from, to;

	if (!maps || fd < 0 || readlink("/proc/self/exe", own, sizeof(own) - 1) < 0)
		return errno;
	while (fgets(line, sizeof(line), maps) && count < 16) {
		path[0] = 0;
		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %255s", &from, &to, right, path) < 3 || strcmp(path, own))
			continue;
		parts[count].at = (char *)from;
		parts[count].length = to - from;
		parts[count++].protection = (right[0] == 'r' ? PROT_READ : 0) | (right[1] == 'w' ? PROT_WRITE : 0) |
					    (right[2] == 'x' ? PROT_EXEC : 0);
	}
	fclose(maps);
	for (int i = 0; i < count; i++) {
		char *copy = mmap(NULL, parts[i].length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (copy == MAP_FAILED)
			return errno;
		memcpy(copy, parts[i].at, parts[i].length);
		if (mprotect(copy, parts[i].length, parts[i].protection) ||
		    mremap(copy, parts[i].length, parts[i].length, MREMAP_MAYMOVE | MREMAP_FIXED, parts[i].at) ==
			    MAP_FAILED)
			return errno;
	}
	return call(prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, fd, 0, 0));
}

static int bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int do_bpf_load(char **a)
{
	struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attributes = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2};

	(void)a;
	attributes.insns = (uintptr_t)code;
	attributes.license = (uintptr_t)"GPL";
	return closed(bpf(BPF_PROG_LOAD, &attributes));
}

static int do_bpf_map(char **a)
{
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	(void)a;
	return closed(bpf(BPF_MAP_CREATE, &attributes));
}

/* Takes the pin of a map, to write (0) or only to read (BPF_F_RDONLY, 8). */
static int do_bpf_pin(char **a)
{
	union bpf_attr attributes = {.file_flags = atoi(a[1])};

	attributes.pathname = (uintptr_t)a[0];
	return closed(bpf(BPF_OBJ_GET, &attributes));
}

/* Looks for a writable descriptor of any map that has a name like the agent's, by number. */
static int do_bpf_by_number(char **a)
{
	union bpf_attr next = {};
	int seen = 0, error = 0;

	while (!bpf(BPF_MAP_GET_NEXT_ID, &next)) {
		union bpf_attr map = {.map_id = next.next_id, .open_flags = BPF_F_RDONLY}, ask = {};
		struct bpf_map_info info = {};
		int fd = bpf(BPF_MAP_GET_FD_BY_ID, &map);

		next.start_id = next.next_id;
		ask.info.bpf_fd = fd;
		ask.info.info_len = sizeof(info);
		ask.info.info = (uintptr_t)&info;
		if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) || strncmp(info.name, a[0], strlen(a[0]))) {
			close(fd);
			continue;
		}
		close(fd);
		seen++;
		map.open_flags = 0;
		fd = bpf(BPF_MAP_GET_FD_BY_ID, &map);
		error = errno;
		if (fd >= 0)
			return closed(fd);
	}
	return seen ? error : KILLED;
}

static int do_bpf_detach(char **a)
{
	union bpf_attr get = {}, detach = {};
	int fd;

	get.pathname = (uintptr_t)a[0];
	fd = bpf(BPF_OBJ_GET, &get);
	if (fd < 0)
		return errno;
	detach.link_detach.link_fd = fd;
	return call(bpf(BPF_LINK_DETACH, &detach));
}

/* Opens the one file and the other over and over, and says so when the first is ever let through or the second is not.
 * Ends at the end of its input. */
static int do_hammer(char **a)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	unsigned long opens = 0;

	/* Whoever is hammered against has to get on, too, on one processor. */
	if (nice(10) < 0)
		return errno;
	do {
		for (int i = 0; i < 64; i++, opens += 2) {
			int fd = open(a[0], O_RDONLY | O_CLOEXEC);

			if (fd >= 0) {
				printf("denied file was opened after %lu opens\n", opens);
				return 1;
			}
			if (errno != EPERM) {
				printf("denied file: error %d after %lu opens\n", errno, opens);
				return 1;
			}
			fd = open(a[1], O_RDONLY | O_CLOEXEC);
			if (fd < 0) {
				printf("allowed file: error %d after %lu opens\n", errno, opens);
				return 1;
			}
			close(fd);
		}
	} while (poll(&input, 1, 0) == 0);
	printf("%lu opens\n", opens);
	return 0;
}

/* A file system whose one file, a script, can be read at its beginning alone: what no kernel can hash. */
static int do_serve_unreadable(char **a)
{
	static char request[1 << 18], script[] = "#!/bin/sh\nexit 0\n";
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[128];

	if (device < 0)
		return errno;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
	if (mount("probe", a[0], "fuse", 0, options))
		return errno;
	for (;;) {
		struct fuse_in_header *in = (void *)request;
		void *body = in + 1;
		static struct {
			struct fuse_out_header head;
			union {
				struct fuse_init_out init;
				struct fuse_entry_out entry;
				struct fuse_attr_out attribute;
				struct fuse_open_out open;
				char data[4096];
			};
		} out;
		size_t size = 0;
		int error = 0;

		if (read(device, request, sizeof(request)) < 0)
			return errno == ENODEV ? 0 : errno;
		memset(&out, 0, sizeof(out));
		switch (in->opcode) {
		case FUSE_INIT:
			out.init.major = FUSE_KERNEL_VERSION;
			out.init.minor = 31;
			out.init.max_write = 4096;
			size = sizeof(out.init);
			break;
		case FUSE_LOOKUP:
			out.entry.nodeid = 2;
			out.entry.attr.ino = 2;
			out.entry.attr.mode = S_IFREG | 0755;
			out.entry.attr.nlink = 1;
			out.entry.attr.size = 1 << 20;
			size = sizeof(out.entry);
			break;
		case FUSE_GETATTR:
			out.attribute.attr.ino = in->nodeid;
			out.attribute.attr.mode = in->nodeid == 1 ? S_IFDIR | 0755 : S_IFREG | 0755;
			out.attribute.attr.nlink = 1;
			out.attribute.attr.size = in->nodeid == 1 ? 0 : 1 << 20;
			size = sizeof(out.attribute);
			break;
		case FUSE_OPEN:
		case FUSE_OPENDIR:
			out.open.open_flags = FOPEN_DIRECT_IO;
			size = sizeof(out.open);
			break;
		case FUSE_READ: {
			struct fuse_read_in *read_in = body;

			if (read_in->offset || read_in->size > sizeof(out.data)) {
				error = EIO;
				break;
			}
			memcpy(out.data, script, sizeof(script) - 1);
			memset(out.data + sizeof(script) - 1, '\n', sizeof(out.data) - sizeof(script) + 1);
			size = read_in->size;
			break;
		}
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			continue;
		case FUSE_RELEASE:
		case FUSE_RELEASEDIR:
		case FUSE_FLUSH:
			break;
		default:
			error = ENOSYS;
		}
		out.head.unique = in->unique;
		out.head.error = -error;
		out.head.len = sizeof(out.head) + (error ? 0 : size);
		if (write(device, &out, out.head.len) < 0 && errno != ENOENT)
			return errno;
	}
}

/* ---- which ---------------------------------------------------------------------------------------------- */

static int perform(int count, char **args);

static int do_nothing(char **a) { (void)a; return 0; }

/* In a control group, for good if it is the process that serves. */
static int do_enter(char **a)
{
	char path[512];
	int fd, error;

	snprintf(path, sizeof(path), "%s/cgroup.procs", a[0]);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	error = call(write(fd, "0", 1));
	close(fd);
	return error;
}

static int do_serve(char **a)
{
	char line[4096], *args[16];

	(void)a;
	/* What it becomes reads on where it stopped. */
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int count = 0;

		for (char *word = strtok(line, " \n"); word && count < 15; word = strtok(NULL, " \n"))
			args[count++] = word;
		args[count] = NULL;
		printf("%d\n", perform(count, args));
		fflush(stdout);
	}
	return 0;
}

/* A child that has nothing of its own but what it has from this process. */
static int do_fork(char **a)
{
	int count = 0;
	pid_t child;

	while (a[count])
		count++;
	child = fork();
	if (!child)
		_exit(perform(count, a));
	return status_of(child);
}

static const struct {
	const char *name;
	int arguments;
	int (*perform)(char **);
} verbs[] = {
	{"nothing", 0, do_nothing},
	{"serve", 0, do_serve},
	{"fork", 1, do_fork},
	{"enter", 1, do_enter},
	{"open", 1, do_open},
	{"write", 1, do_write},
	{"create", 1, do_create},
	{"mknod", 1, do_mknod},
	{"truncate", 1, do_truncate},
	{"rename", 2, do_rename},
	{"exchange", 2, do_exchange},
	{"link", 2, do_link},
	{"symlink", 2, do_symlink},
	{"unlink", 1, do_unlink},
	{"mkdir", 1, do_mkdir},
	{"rmdir", 1, do_rmdir},
	{"stat", 1, do_stat},
	{"openat2", 1, do_openat2},
	{"opath", 1, do_opath},
	{"handle", 2, do_handle},
	{"tmpfile", 2, do_tmpfile},
	{"keep", 1, do_keep},
	{"read", 0, do_read},
	{"reopen", 0, do_reopen},
	{"map", 0, do_map},
	{"map-code", 0, do_map_code},
	{"load", 1, do_load},
	{"pass", 0, do_pass},
	{"steal", 0, do_steal},
	{"bind-mount", 2, do_bind_mount},
	{"unmount", 1, do_unmount},
	{"namespace", 2, do_namespace},
	{"chroot", 2, do_chroot},
	{"ring-open", 1, do_ring_open},
	{"ring-thread-open", 1, do_ring_thread_open},
	{"ring-connect", 2, do_ring_connect},
	{"tcp", 2, do_tcp},
	{"udp", 2, do_udp},
	{"reach", 2, do_reach},
	{"send", 0, do_send},
	{"sendto", 2, do_sendto},
	{"sendto-unspecified", 2, do_sendto_unspecified},
	{"sendto-four-by-six", 2, do_sendto_four_by_six},
	{"sendmsg", 2, do_sendmsg},
	{"sendmmsg", 2, do_sendmmsg},
	{"raw", 2, do_raw},
	{"raw-unspecified", 2, do_raw_unspecified},
	{"raw-header", 3, do_raw_header},
	{"packet", 1, do_packet},
	{"fast-open", 2, do_fast_open},
	{"any-six-by-four", 1, do_any_six_by_four},
	{"any-of-bound", 1, do_any_of_bound},
	{"sctp-connect", 2, do_sctp_connect},
	{"sctp-bind", 2, do_sctp_bind},
	{"smc", 2, do_smc},
	{"bind-tcp", 2, do_bind_tcp},
	{"bind-udp", 2, do_bind_udp},
	{"bind-unspecified", 2, do_bind_unspecified},
	{"listen-tcp", 2, do_listen_tcp},
	{"listen-unbound", 0, do_listen_unbound},
	{"exec", 1, do_exec},
	{"become", 1, do_become},
	{"memfd", 1, do_memfd},
	{"execveat", 1, do_execveat},
	{"seize", 0, do_seize},
	{"attach", 0, do_attach},
	{"attach-to", 1, do_attach_to},
	{"traceme", 0, do_traceme},
	{"read-memory", 0, do_read_memory},
	{"open-memory", 0, do_open_memory},
	{"read-status", 0, do_read_status},
	{"init-module", 0, do_init_module},
	{"finit-module", 0, do_finit_module},
	{"packed-module", 0, do_packed_module},
	{"disguise", 1, do_disguise},
	{"bpf-load", 0, do_bpf_load},
	{"bpf-map", 0, do_bpf_map},
	{"bpf-pin", 2, do_bpf_pin},
	{"bpf-by-number", 1, do_bpf_by_number},
	{"bpf-detach", 1, do_bpf_detach},
	{"hammer", 2, do_hammer},
	{"serve-unreadable", 1, do_serve_unreadable},
};

static int perform(int count, char **args)
{
	/* In a group, and then what follows. */
	if (count > 2 && !strcmp(args[0], "in")) {
		int error = do_enter(args + 1);

		return error ? KILLED : perform(count - 2, args + 2);
	}
	for (size_t i = 0; count > 0 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(args[0], verbs[i].name) && count > verbs[i].arguments)
			return verbs[i].perform(args + 1);
	fprintf(stderr, "probe: unknown, or too little of it: %s\n", count > 0 ? args[0] : "");
	return UNKNOWN;
}

int main(int argc, char **argv)
{
	return perform(argc - 1, argv + 1);
}
