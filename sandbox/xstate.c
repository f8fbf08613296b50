/*
 * Lets a user-mode-linux kernel before Linux 6.13 run on processors with more registers than its buffer holds.
 *
 * It passes a process's registers to ptrace(2) in 2,696 bytes (HOST_FP_SIZE in arch/x86/um/user-offsets.c). The host's
 * kernel accepts only the full size, 11,008 bytes with AMX (xstateregs_set() in arch/x86/kernel/fpu/regset.c), so the
 * guest stops at its first process. Preloaded, this library passes on the registers that the guest's kernel knows, and
 * gives the others their values in a new process. A guest's programs can't use those registers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum {
    ROOM = 65536,
    FEATURES_AT = 512,  /* xstate_bv of the XSAVE header: which parts are not as in a new process */
    WITHIN_2696 = 0x3ff /* x87, SSE, AVX, MPX, AVX-512 and protection keys */
};

typedef long ptrace_call(int, pid_t, void *, void *);

static _Alignas(64) unsigned char whole[ROOM];
static size_t whole_size;

static long get(ptrace_call *real, pid_t pid, struct iovec *asked)
{
    struct iovec all = {whole, sizeof whole};
    long result = real(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &all);

    if (result == 0) {
        whole_size = all.iov_len;
        if (asked->iov_len > whole_size)
            asked->iov_len = whole_size;
        memcpy(asked->iov_base, whole, asked->iov_len);
    }
    return result;
}

static long set(ptrace_call *real, pid_t pid, struct iovec *given)
{
    struct iovec all = {whole, whole_size};
    uint64_t features;

    if (whole_size <= given->iov_len)
        return real(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, given);
    memset(whole, 0, whole_size);
    memcpy(whole, given->iov_base, given->iov_len);
    memcpy(&features, whole + FEATURES_AT, sizeof features);
    features &= WITHIN_2696;
    memcpy(whole + FEATURES_AT, &features, sizeof features);
    return real(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_call *real;
    va_list more;

    va_start(more, request);
    pid_t pid = va_arg(more, pid_t);
    void *address = va_arg(more, void *);
    void *data = va_arg(more, void *);
    va_end(more);
    if (real == NULL)
        real = (ptrace_call *)dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_GETREGSET && address == (void *)NT_X86_XSTATE)
        return get(real, pid, data);
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set(real, pid, data);
    return real(request, pid, address, data);
}
