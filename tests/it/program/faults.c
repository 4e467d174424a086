// Runs a program and makes one of its system calls fail, or kills it there.
//
//     faults CALLS K WHAT UNDER REPORT PROGRAM ARGUMENTS...
//
// CALLS   which calls count, separated by commas: open write sync rename truncate mkdir unlink thread
// K       the call, from 1, that WHAT happens to; with a `+` after it, to all later ones too (a disk that stays full)
// WHAT    ENOSPC EIO EACCES ENOENT EAGAIN (the call fails so), kill (instead of the call), half (half of the bytes are written; the rest fails
//         with ENOSPC), half-kill (half of them, then the kill)
// UNDER   only calls on files below this folder count (not looked at for `thread`); no symbolic link may be in it
// REPORT  a file that is told how many calls counted, and the one that was hit
//
// The kernel hands each such call to this process before it does anything (seccomp user notification), so that calls which go past the C
// library count as well and nothing has to be put into the program. No rights are needed. Exit code 125: this machine does not let that be done.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

enum { CANNOT = 125, LISTENER = 100 };

// How a call names its file: not at all, by descriptor, or by the path in this argument.
enum { NONE = -1, FD = -2 };

struct call {
    long nr;
    const char *kind;
    int path;
    // Argument with the folder that a relative path starts from; NONE for the working directory.
    int from;
};

static const struct call CALLS[] = {
#ifdef __NR_open
    {__NR_open, "open", 0, NONE},
    {__NR_rename, "rename", 1, NONE},
    {__NR_mkdir, "mkdir", 0, NONE},
    {__NR_unlink, "unlink", 0, NONE},
    {__NR_rmdir, "unlink", 0, NONE},
#endif
#ifdef __NR_renameat
    {__NR_renameat, "rename", 3, 2},
#endif
    {__NR_openat, "open", 1, 0},
    {__NR_renameat2, "rename", 3, 2},
    {__NR_mkdirat, "mkdir", 1, 0},
    {__NR_unlinkat, "unlink", 1, 0},
    {__NR_write, "write", FD, NONE},
    {__NR_fsync, "sync", FD, NONE},
    {__NR_fdatasync, "sync", FD, NONE},
    {__NR_ftruncate, "truncate", FD, NONE},
    {__NR_clone, "thread", NONE, NONE},
    {__NR_clone3, "thread", NONE, NONE},
};
enum { COUNT = sizeof CALLS / sizeof *CALLS };

static int cannot(const char *what) {
    fprintf(stderr, "faults: cannot %s: %s\n", what, strerror(errno));
    return CANNOT;
}

static int wanted(const char *kinds, const char *kind) {
    size_t n = strlen(kind);
    for (const char *at = kinds; (at = strstr(at, kind)); at += n)
        if ((at == kinds || at[-1] == ',') && (at[n] == 0 || at[n] == ',')) return 1;
    return 0;
}

// Bytes of another process.
static ssize_t peek(pid_t pid, unsigned long at, void *to, size_t n) {
    struct iovec local = {to, n}, remote = {(void *)at, n};
    return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static int link_of(pid_t pid, const char *what, long fd, char *to) {
    char name[64];
    snprintf(name, sizeof name, fd < 0 ? "/proc/%d/%s" : "/proc/%d/%s/%ld", pid, what, fd);
    ssize_t n = readlink(name, to, PATH_MAX - 1);
    to[n < 0 ? 0 : n] = 0;
    return n > 0;
}

// The file that a call is about.
static int file_of(const struct call *call, const struct seccomp_notif *n, char *to) {
    if (call->path == FD) return link_of(n->pid, "fd", (int)n->data.args[0], to);
    char path[PATH_MAX] = {0};
    // A page at most: what lies behind the string may not be there.
    unsigned long at = n->data.args[call->path], room = 4096 - at % 4096;
    ssize_t got = peek(n->pid, at, path, room < sizeof path - 1 ? room : sizeof path - 1);
    if (got <= 0) return 0;
    if (strlen(path) == room) peek(n->pid, at + room, path + room, sizeof path - 1 - room);
    if (path[0] == '/') {
        strcpy(to, path);
        return 1;
    }
    int from = call->from < 0 ? AT_FDCWD : (int)n->data.args[call->from];
    if (!(from == AT_FDCWD ? link_of(n->pid, "cwd", -1, to) : link_of(n->pid, "fd", from, to))) return 0;
    size_t len = strlen(to);
    return snprintf(to + len, PATH_MAX - len, "/%s", path) < (int)(PATH_MAX - len);
}

static int starts_thread(const struct seccomp_notif *n) {
    __u64 flags = n->data.args[0];
    if (n->data.nr == __NR_clone3) {
        struct clone_args args = {0};
        if (peek(n->pid, n->data.args[0], &args, sizeof args.flags) <= 0) return 0;
        flags = args.flags;
    }
    return (flags & CLONE_THREAD) != 0;
}

// Does half of a write on behalf of the process; how many bytes that were.
static long write_half(int pidfd, const struct seccomp_notif *n) {
    size_t len = n->data.args[2] / 2;
    char *bytes = malloc(len + 1);
    int fd = (int)syscall(__NR_pidfd_getfd, pidfd, (int)n->data.args[0], 0);
    long done = bytes && fd >= 0 && peek(n->pid, n->data.args[1], bytes, len) == (ssize_t)len ? write(fd, bytes, len) : -1;
    if (fd >= 0) close(fd);
    free(bytes);
    return done;
}

static int errno_of(const char *name) {
    static const struct {
        const char *name;
        int number;
    } known[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EACCES", EACCES}, {"ENOENT", ENOENT}, {"EAGAIN", EAGAIN}, {"half", ENOSPC}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) return known[i].number;
    return 0;
}

static int begin(char *const program[], const char *kinds, int ready, int go) {
    struct sock_filter filter[COUNT + 3];
    int n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    int chosen = 0;
    for (int i = 0; i < COUNT; i++) chosen += wanted(kinds, CALLS[i].kind);
    for (int i = 0; i < COUNT; i++) {
        if (!wanted(kinds, CALLS[i].kind)) continue;
        // To the last instruction, past the calls that are left and the one that lets go.
        filter[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)CALLS[i].nr, (unsigned char)(chosen - n + 1), 0);
        n++;
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog all = {(unsigned short)n, filter};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return cannot("give up new rights");
    int listener = (int)syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &all);
    // From here on no call that counts may be made before the other side listens.
    if (listener < 0) _exit(CANNOT);
    if (dup2(listener, LISTENER) < 0) _exit(CANNOT);
    close(listener);
    close(ready);
    char nothing;
    if (read(go, &nothing, 1) != 0) _exit(CANNOT);
    close(LISTENER);
    close(go);
    execv(program[0], program);
    _exit(CANNOT);
}

int main(int argc, char *argv[]) {
    if (argc < 7) {
        fprintf(stderr, "usage: faults CALLS K WHAT UNDER REPORT PROGRAM ARGUMENTS...\n");
        return CANNOT;
    }
    const char *kinds = argv[1], *what = argv[3], *under = argv[4], *report = argv[5];
    char *end;
    long at = strtol(argv[2], &end, 10);
    int later = *end == '+', ready[2], go[2];
    if (pipe(ready) || pipe(go)) return cannot("make a pipe");
    pid_t child = fork();
    if (child < 0) return cannot("fork");
    if (child == 0) {
        close(ready[0]);
        close(go[1]);
        return begin(argv + 6, kinds, ready[1], go[0]);
    }
    close(ready[1]);
    close(go[0]);
    char nothing;
    if (read(ready[0], &nothing, 1) != 0) return cannot("wait");
    int pidfd = (int)syscall(__NR_pidfd_open, child, 0);
    int listener = (int)syscall(__NR_pidfd_getfd, pidfd, LISTENER, 0);
    if (listener < 0) {
        cannot("listen to system calls");
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        return CANNOT;
    }
    close(go[1]);

    long seen = 0;
    char file[PATH_MAX], hit[PATH_MAX + 64] = "none";
    struct pollfd both[2] = {{listener, POLLIN, 0}, {pidfd, POLLIN, 0}};
    while (poll(both, 2, -1) >= 0 || errno == EINTR) {
        if (!(both[0].revents & POLLIN)) {
            if (both[1].revents || (both[0].revents & POLLHUP)) break;
            continue;
        }
        struct seccomp_notif n = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n)) continue;
        struct seccomp_notif_resp answer = {.id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        const struct call *call = CALLS;
        while (call->nr != n.data.nr) call++;
        size_t prefix = strlen(under);
        int counts = call->path == NONE ? starts_thread(&n)
                                        : file_of(call, &n, file) && !strncmp(file, under, prefix) && (file[prefix] == '/' || !file[prefix]);
        // Half a write is a write.
        seen += counts;
        if (counts && (seen == at || (later && seen > at))) {
            if (seen == at) snprintf(hit, sizeof hit, "%s %s", call->kind, call->path == NONE ? "" : file);
            if (!strcmp(what, "half") && seen == at && n.data.nr == __NR_write) {
                answer = (struct seccomp_notif_resp){.id = n.id, .val = write_half(pidfd, &n)};
            } else if (errno_of(what)) {
                answer = (struct seccomp_notif_resp){.id = n.id, .error = -errno_of(what)};
            } else {
                if (!strcmp(what, "half-kill") && n.data.nr == __NR_write) write_half(pidfd, &n);
                kill(child, SIGKILL);
                break;
            }
        }
        // It fails only for a process that is gone.
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    int status = 0;
    waitpid(child, &status, 0);
    FILE *out = fopen(report, "w");
    if (!out || fprintf(out, "%ld %s\n", seen, hit) < 0 || fclose(out)) return cannot("write the report");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
