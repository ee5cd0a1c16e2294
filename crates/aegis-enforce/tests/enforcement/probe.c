/* Does one thing to the kernel and tells how it ended: 0, or the error number as the exit status. Who asks must be
 * another program than the agent, and some of these calls have no safe form in Rust. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int opened(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static socklen_t address(const char *text, const char *port, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (void *)out;
	struct sockaddr_in6 *six = (void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(port));
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1)
		exit(200);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(atoi(port));
	return sizeof(*six);
}

static int connected(int type, const char *text, const char *port)
{
	struct sockaddr_storage to;
	socklen_t length = address(text, port, &to);
	int fd = socket(to.ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	return connect(fd, (void *)&to, length) ? errno : 0;
}

static int bound(int type, const char *text, const char *port, int listening)
{
	struct sockaddr_storage at;
	socklen_t length = address(text, port, &at);
	int fd = socket(at.ss_family, type | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (void *)&at, length))
		return errno;
	return listening && listen(fd, 1) ? errno : 0;
}

static int run(char **argv)
{
	int status;
	pid_t child = fork();

	if (!child) {
		execv(argv[0], argv);
		_exit(errno);
	}
	if (waitpid(child, &status, 0) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 201;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *first = argc > 2 ? argv[2] : "";
	const char *second = argc > 3 ? argv[3] : "0";

	if (!strcmp(what, "nothing"))
		return 0;
	if (!strcmp(what, "open"))
		return opened(first, O_RDONLY);
	if (!strcmp(what, "write"))
		return opened(first, O_WRONLY);
	if (!strcmp(what, "create"))
		return opened(first, O_WRONLY | O_CREAT | O_EXCL);
	if (!strcmp(what, "truncate"))
		return truncate(first, 0) ? errno : 0;
	if (!strcmp(what, "rename"))
		return rename(first, second) ? errno : 0;
	if (!strcmp(what, "link"))
		return link(first, second) ? errno : 0;
	if (!strcmp(what, "unlink"))
		return unlink(first) ? errno : 0;
	if (!strcmp(what, "exec"))
		return run(argv + 2);
	if (!strcmp(what, "tcp"))
		return connected(SOCK_STREAM, first, second);
	if (!strcmp(what, "udp"))
		return connected(SOCK_DGRAM, first, second);
	if (!strcmp(what, "bind-tcp"))
		return bound(SOCK_STREAM, first, second, 0);
	if (!strcmp(what, "listen-tcp"))
		return bound(SOCK_STREAM, first, second, 1);
	if (!strcmp(what, "bind-udp"))
		return bound(SOCK_DGRAM, first, second, 0);
	if (!strcmp(what, "ptrace")) {
		pid_t child = fork();
		int error;

		if (!child) {
			pause();
			_exit(0);
		}
		error = ptrace(PTRACE_SEIZE, child, 0, 0) ? errno : 0;
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		return error;
	}
	fprintf(stderr, "probe: unknown: %s\n", what);
	return 202;
}
